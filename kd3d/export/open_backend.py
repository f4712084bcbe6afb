"""Opens an export folder in one of the backends, by name."""

from pathlib import Path

import torch

from kd3d.backends.base import Backend
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.pytorch import PytorchBackend
from kd3d.checkpoints import load_checkpoint
from kd3d.configs import load_config
from kd3d.errors import UserError
from kd3d.export.deployable import Deployable, deployable
from kd3d.export.detector import build_detector, load_weights
from kd3d.export.manifest import CONFIG_FILE, MODEL_FILE, WEIGHTS_FILE, Manifest
from kd3d.export.pillar_deployable import PillarDeployable, pillar_deployable
from kd3d.export.pillar_manifest import PillarManifest, read_manifest

BACKENDS = ("onnxruntime", "pytorch")


def open_backend(folder: str | Path, name: str, *, threads: int | None = None) -> Backend:
    """The exported network as a Backend.

    Args:
        folder: written by tools/export.py.
        name: "onnxruntime" runs model.onnx; "pytorch" runs config.py with weights.pth.
        threads: inside one operator; None leaves the choice to the backend. For "pytorch" it
            is a setting of the whole process and is set by ``torch.set_num_threads``.

    Raises:
        UserError: for an unknown name or a folder that is no export.
    """
    manifest = read_manifest(folder)
    if name == "onnxruntime":
        return OnnxRuntimeBackend(Path(folder) / MODEL_FILE, threads=threads)
    if name == "pytorch":
        if threads is not None:
            torch.set_num_threads(threads)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return backend_from_module(_load(Path(folder), manifest), manifest, device=device)
    raise UserError(f"unknown backend '{name}'; expected one of {', '.join(BACKENDS)}")


def backend_from_module(
    module: Deployable | PillarDeployable,
    manifest: Manifest | PillarManifest,
    *,
    device: str = "cpu",
) -> PytorchBackend:
    """The PyTorch side of an export, with the names and sizes of the manifest."""
    return PytorchBackend(module, manifest.inputs(), manifest.output_names, device=device)


def _load(folder: Path, manifest: Manifest | PillarManifest) -> Deployable | PillarDeployable:
    detector = build_detector(load_config(folder / CONFIG_FILE))
    load_weights(detector, load_checkpoint(folder / WEIGHTS_FILE)["state_dict"], WEIGHTS_FILE)
    if isinstance(manifest, PillarManifest):
        return pillar_deployable(detector, batch=manifest.batch)
    return deployable(detector)
