"""export.json: what a program needs to run an exported file without kd3d."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kd3d.backends.base import TensorSpec
from kd3d.errors import UserError
from kd3d.export.final_boxes import STEPS, PostProcessing
from kd3d.files import write_json

FILE_NAME = "export.json"
MODEL_FILE = "model.onnx"
CONFIG_FILE = "config.py"
WEIGHTS_FILE = "weights.pth"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Content of export.json.

    Attributes:
        input_name: of the images (B, 3, H, W) float32.
        input_size: (H, W) px.
        batch: B that the file takes; None takes any.
        output_names: "boxes" (B, N, 4), "scores" (B, N, K) and perhaps "factors" (B, N).
        level_sizes: priors of each level, in the order of N.
        preprocessing: from an image to the input, see ``steps`` in it.
        postprocessing: from the outputs to detections, see ``steps`` in it.
        classes: names in the order of K.
        opset: of the ONNX file.
        parameters: of the detector.
        config: path it was made from; config_hash: of its content.
        checkpoint: path of the weights; checkpoint_hash: of that file.
        versions: of what made it.
    """

    input_name: str
    input_size: tuple[int, int]
    batch: int | None
    output_names: Sequence[str]
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

    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and type of the network's input."""
        return (TensorSpec(self.input_name, (self.batch, 3, *self.input_size), "float32"),)

    @property
    def input_text(self) -> str:
        """The input's size in short, for records."""
        return "x".join(str(size) for size in self.input_size)

    def write(self, folder: str | Path) -> Path:
        """Writes export.json into ``folder``."""
        content = asdict(self)
        content["postprocessing"] = {**self.postprocessing.as_json(), "steps": list(STEPS)}
        return write_json(Path(folder) / FILE_NAME, content)

    @classmethod
    def read(cls, folder: str | Path) -> "Manifest":
        """Reads export.json of an export folder.

        Raises:
            UserError: if the folder is none, or its export.json is damaged.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise UserError(
                f"{folder} is no export folder: it has no {FILE_NAME}; "
                "make one with tools/export.py CONFIG CHECKPOINT --out DIR"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            settings = dict(content["postprocessing"])
            settings.pop("steps", None)
            content["postprocessing"] = PostProcessing(**settings)
            content["input_size"] = (int(content["input_size"][0]), int(content["input_size"][1]))
            return cls(**content)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UserError(f"{path}: damaged or from another version: {error!r}") from None
