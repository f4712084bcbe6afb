"""export.json: what a program needs to run an exported file without kd3d."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kd3d.backends.base import TensorSpec
from kd3d.backends.bundle import FILE_NAME, ModelFile, models_from_json
from kd3d.export.detections.final_boxes import STEPS, PostProcessing
from kd3d.files import write_json

CONFIG_FILE = "config.py"
WEIGHTS_FILE = "weights.pth"
PROFILE_MOST_IMAGES = 8  # of an engine, where the file takes any number
Shapes = dict[str, list[int]]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Content of export.json.

    Attributes:
        input_name: of the images (B, C, H, W) float32.
        input_size: (H, W) px.
        image_size: (H, W) px of an image before it is padded to the input, where that is a
            constant of the file; other images give slightly other boxes. None: the whole input.
        batch: B that the file takes; None takes any.
        output_names: "boxes" (B, N, 4), "scores" (B, N, K) and perhaps "factors" (B, N).
        rows_free: the order of N is that of a score, so that near ties may change places.
        level_sizes: priors of each level, in the order of N.
        preprocessing: from an image to the input, see ``steps`` in it.
        postprocessing: from the outputs to detections, see ``steps`` in it.
        classes: names in the order of K.
        opset: of the ONNX file.
        parameters: of the detector.
        config: path it was made from; config_hash: of its content.
        checkpoint: path of the weights; checkpoint_hash: of that file.
        versions: of what made it.
        models: the ONNX files by precision.
        sample: what sample.npz was made of, "real" or "random".
        sample_sha256: of sample.npz, 64 hexadecimal digits; empty until it is written.
        channels: C of the images, 1 where they are grey.
    """

    input_name: str
    input_size: tuple[int, int]
    image_size: tuple[int, int] | None
    batch: int | None
    output_names: Sequence[str]
    rows_free: bool
    level_sizes: Sequence[int]
    preprocessing: dict[str, Any]
    postprocessing: PostProcessing
    classes: Sequence[str]
    opset: int
    parameters: int
    config: str
    config_hash: str
    checkpoint: str
    checkpoint_hash: str
    versions: dict[str, str]
    models: Mapping[str, ModelFile]
    sample: str = "random"
    sample_sha256: str = ""
    channels: int = 3

    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and type of the network's input."""
        return (
            TensorSpec(self.input_name, (self.batch, self.channels, *self.input_size), "float32"),
        )

    def profiles(self) -> dict[str, Shapes]:
        """Bounds of an engine for inputs with a free size."""
        if self.batch is not None:
            return {}
        shape = [self.channels, *self.input_size]
        return {
            self.input_name: {
                "min": [1, *shape],
                "opt": [1, *shape],
                "max": [PROFILE_MOST_IMAGES, *shape],
            }
        }

    @property
    def input_text(self) -> str:
        """The input's size in short, for records."""
        return "x".join(str(size) for size in self.input_size)

    def write(self, folder: str | Path) -> Path:
        """Writes export.json into ``folder``."""
        content = {**asdict(self), **shared_entries(self)}
        del content["output_names"]  # "outputs"
        content["postprocessing"] = {**self.postprocessing.as_json(), "steps": list(STEPS)}
        return write_json(Path(folder) / FILE_NAME, content)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Manifest":
        """The reverse of ``write``.

        Raises:
            ValueError, KeyError, TypeError: if something is missing or of another form.
        """
        content = fields_from_shared(content)
        settings = dict(content["postprocessing"])
        settings.pop("steps", None)
        content["postprocessing"] = PostProcessing(**settings)
        content["input_size"] = _size(content["input_size"])
        if content["image_size"] is not None:
            content["image_size"] = _size(content["image_size"])
        return cls(**content)


def shared_entries(manifest: Any) -> dict[str, Any]:  # Any: Manifest or PillarManifest
    """What every export.json says in the same words, for ``Bundle``."""
    return {
        "models": {name: model.as_json() for name, model in manifest.models.items()},
        "inputs": [asdict(spec) for spec in manifest.inputs()],
        "outputs": list(manifest.output_names),
        "profiles": manifest.profiles(),
        "input_text": manifest.input_text,
    }


def fields_from_shared(content: dict[str, Any]) -> dict[str, Any]:
    """The reverse of ``shared_entries``: an export.json with the fields of a manifest."""
    derived = ("inputs", "outputs", "profiles", "input_text")
    fields = {name: value for name, value in content.items() if name not in derived}
    fields["models"] = models_from_json(content, FILE_NAME)
    fields["output_names"] = tuple(content["outputs"])
    return fields


def _size(value: Sequence[Any]) -> tuple[int, int]:
    return int(value[0]), int(value[1])
