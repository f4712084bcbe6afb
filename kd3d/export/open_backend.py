"""Opens an export folder in one of the backends, by name."""

from pathlib import Path

import torch

from kd3d.backends.base import Backend, TensorSpec
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.pytorch import PytorchBackend
from kd3d.checkpoints import load_checkpoint
from kd3d.configs import load_config
from kd3d.errors import UserError
from kd3d.export.deployable import Deployable, deployable
from kd3d.export.detector import build_detector, load_weights
from kd3d.export.manifest import CONFIG_FILE, MODEL_FILE, WEIGHTS_FILE, Manifest

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
    manifest = Manifest.read(folder)
    if name == "onnxruntime":
        return OnnxRuntimeBackend(Path(folder) / MODEL_FILE, threads=threads)
    if name == "pytorch":
        if threads is not None:
            torch.set_num_threads(threads)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return backend_from_module(_load(Path(folder)), manifest, device=device)
    raise UserError(f"unknown backend '{name}'; expected one of {', '.join(BACKENDS)}")


def backend_from_module(
    module: Deployable, manifest: Manifest, *, device: str = "cpu"
) -> PytorchBackend:
    """The PyTorch side of an export, with the names and sizes of the manifest."""
    spec = TensorSpec(manifest.input_name, (manifest.batch, 3, *manifest.input_size), "float32")
    return PytorchBackend(module, [spec], manifest.output_names, device=device)


def _load(folder: Path) -> Deployable:
    detector = build_detector(load_config(folder / CONFIG_FILE))
    load_weights(detector, load_checkpoint(folder / WEIGHTS_FILE)["state_dict"], WEIGHTS_FILE)
    return deployable(detector)
