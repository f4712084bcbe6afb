"""export.json of a pillar detector: what a program needs to run the file without kd3d."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kd3d.backends.base import TensorSpec
from kd3d.backends.bundle import FILE_NAME, Bundle, ModelFile
from kd3d.errors import UserError
from kd3d.export import voxelization
from kd3d.export.detections.final_boxes3d import (
    PostProcessing3D,
    settings_as_json,
    settings_from_json,
)
from kd3d.export.manifest import Manifest, Shapes, fields_from_shared, shared_entries
from kd3d.export.voxelization import Voxelization
from kd3d.files import write_json

KIND = "pillars"


@dataclass(frozen=True, kw_only=True)
class PillarManifest:
    """Content of export.json.

    Attributes:
        batch: frames of a run; fixed in the file.
        sample: what the frame in sample.npz is, "test set" or "synthetic".
        point_features: C of the points: x y z and what else the pipeline loads.
        pillar_profile: pillars of a run: "min", "opt" (of the sample) and "max" (all frames full),
            for an engine whose number of pillars is free between bounds; three times the same
            where it is not.
        output_names: "boxes" (B, N, 7 or 9), "scores" and perhaps "labels"; see ``output_text``.
        groups: consecutive rows of N that belong to one task or level.
        voxelization: from points to the inputs, see ``steps`` in it.
        preprocessing: from files to points: the test pipeline, see ``steps`` in it.
        postprocessing: from the outputs to detections, see ``steps`` in it.
        classes: names in the order of the labels.
        opset: of the ONNX file.
        parameters: of the detector.
        config: path it was made from; config_hash: of its content.
        checkpoint: path of the weights; checkpoint_hash: of that file.
        versions: of what made it.
        models: the ONNX files by precision.
        sample_sha256: of sample.npz, 64 hexadecimal digits; empty until it is written.
    """

    batch: int
    sample: str
    point_features: int
    pillar_profile: dict[str, int]
    output_names: Sequence[str]
    groups: Sequence[int]
    voxelization: Voxelization
    preprocessing: dict[str, Any]
    postprocessing: PostProcessing3D
    classes: Sequence[str]
    opset: int
    parameters: int
    config: str
    config_hash: str
    checkpoint: str
    checkpoint_hash: str
    versions: dict[str, str]
    models: Mapping[str, ModelFile]
    sample_sha256: str = ""

    def inputs(self) -> tuple[TensorSpec, ...]:
        """Names, shapes and types of the network's inputs; None is a free number of pillars."""
        pillars = self.batch * self.voxelization.max_pillars if self.voxelization.filled else None
        points = (pillars, self.voxelization.max_num_points, self.point_features)
        return (
            TensorSpec("pillars", points, "float32"),
            TensorSpec("num_points", (pillars,), "int32"),
            TensorSpec("coordinates", (pillars, 4), "int32"),
        )

    @property
    def input_text(self) -> str:
        """The grid in short, for records."""
        columns, rows, _ = self.voxelization.grid
        return f"{columns}x{rows} pillars of {self.voxelization.voxel_size_m[0]:g} m"

    def profiles(self) -> dict[str, Shapes]:
        """Bounds of an engine for a free number of pillars."""
        if self.voxelization.filled:
            return {}
        return {
            spec.name: {
                bound: [pillars if size is None else size for size in spec.shape]
                for bound, pillars in self.pillar_profile.items()
            }
            for spec in self.inputs()
        }

    def write(self, folder: str | Path) -> Path:
        """Writes export.json into ``folder``."""
        content = {"kind": KIND, **asdict(self), **shared_entries(self), "output_text": _OUTPUTS}
        del content["output_names"]  # "outputs"
        content["voxelization"] |= {
            "grid": self.voxelization.grid,
            "steps": list(voxelization.STEPS),
        }
        content["postprocessing"] = settings_as_json(self.postprocessing)
        return write_json(Path(folder) / FILE_NAME, content)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "PillarManifest":
        """The reverse of ``write``.

        Raises:
            ValueError, KeyError, TypeError: if something is missing or of another form.
        """
        content = fields_from_shared(content)
        for name in ("kind", "output_text"):
            del content[name]
        content["voxelization"] = Voxelization.from_json(content["voxelization"])
        content["postprocessing"] = settings_from_json(content["postprocessing"])
        content["groups"] = tuple(content["groups"])
        return cls(**content)


def read_manifest(folder: str | Path) -> Manifest | PillarManifest:
    """Reads export.json of an export folder of either kind.

    Raises:
        UserError: if the folder is none, or its export.json is damaged.
    """
    content = dict(Bundle.read(folder).manifest)
    try:
        kind = PillarManifest if content.get("kind") == KIND else Manifest
        return kind.from_json(content)
    except (ValueError, KeyError, TypeError) as error:
        path = Path(folder) / FILE_NAME
        raise UserError(f"{path}: damaged or from another version: {error!r}") from None


_OUTPUTS = {
    "boxes": "(B, N, 7 or 9) x y z dx dy dz yaw [vx vy]: metres, radians, m/s in the LiDAR frame; "
    "z is the bottom of the box",
    "scores": "(B, N) of each box, or (B, N, K) of each class, in [0, 1]",
    "labels": "(B, N) int32 class of each box, where the file has this output",
}
