"""Opens an export folder in one of the backends, by name."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from kd3d.backends.base import Array, Backend, Feeds
from kd3d.backends.bundle import Bundle
from kd3d.backends.open_bundle import BUNDLE_BACKENDS, open_bundle
from kd3d.backends.pytorch import PytorchBackend
from kd3d.backends.remote import RemoteBackend
from kd3d.backends.ssh import Host, Say
from kd3d.checkpoints import load_checkpoint, load_weights
from kd3d.configs import load_config
from kd3d.errors import UserError
from kd3d.export.detector import build_detector
from kd3d.export.manifest import CONFIG_FILE, WEIGHTS_FILE, Manifest
from kd3d.export.networks.deployable import Deployable, deployable
from kd3d.export.networks.pillar_deployable import PillarDeployable, pillar_deployable
from kd3d.export.pillar_manifest import PillarManifest, read_manifest

BACKENDS = (*BUNDLE_BACKENDS, "pytorch")


def open_backend(
    folder: str | Path,
    name: str,
    *,
    precision: str = "fp32",
    threads: int | None = None,
    device: str | None = None,
    exact: bool = True,
    cuda_graph: bool = False,
    host: Host | None = None,
    say: Say = print,
) -> Backend:
    """The exported network as a Backend.

    Args:
        folder: written by tools/export.py.
        name: "onnxruntime" runs the ONNX file of the precision, "tensorrt" an engine that is built
            from it for this machine's GPU; "pytorch" runs config.py with weights.pth.
        precision: "fp32", "fp16" or "int8"; PyTorch has "fp32" alone.
        threads: inside one operator; None leaves the choice to the backend. For "pytorch" it
            is a setting of the whole process and is set by ``torch.set_num_threads``.
        device: of "pytorch", "cpu" or "cuda"; None is the GPU where there is one.
        exact: PyTorch and ONNX Runtime leave TF32 out; False for latencies, on this machine.
        cuda_graph: launch an engine's kernels as one CUDA graph, on this machine.
        host: a vehicle that runs it, in one of the backends that need no PyTorch.
        say: told of lost connections to ``host``.

    Raises:
        UserError: for an unknown name, a folder that is no export, or a precision that it does
            not hold; of a model file that is not the one that was exported.
    """
    if name not in BACKENDS:
        raise UserError(f"unknown backend '{name}'; expected one of {', '.join(BACKENDS)}")
    bundle = Bundle.read(folder)
    if name in BUNDLE_BACKENDS and host is not None:
        return RemoteBackend(bundle, host, name, precision=precision, say=say)
    if name in BUNDLE_BACKENDS:
        return open_bundle(
            *(bundle, name),
            precision=precision,
            threads=threads,
            exact=exact,
            cuda_graph=cuda_graph,
        )
    if precision != "fp32":
        raise UserError(
            f"backend 'pytorch' runs the weights in fp32, not {precision}; use onnxruntime"
        )
    if threads is not None:
        torch.set_num_threads(threads)
    manifest = read_manifest(folder)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    module = load_module(folder, manifest)
    return backend_from_module(module, manifest, device=device, exact=exact)


class LateBackend:
    """Opened by its first inputs: EMAHook copies a model before that, and no session can be.

    Its arguments are those of ``open_backend``, the host as ``host_as_config`` gives it.
    """

    def __init__(
        self, folder: str | Path, name: str, *, precision: str, host: Mapping[str, Any] | None
    ) -> None:
        place = host_from_config(host)
        self._open = partial(open_backend, folder, name, precision=precision, **place)
        self._backend: Backend | None = None

    def infer(self, feeds: Feeds) -> dict[str, Array]:
        """See ``Backend``."""
        if self._backend is None:
            self._backend = self._open().__enter__()
        return self._backend.infer(feeds)

    def close(self) -> None:
        """Releases what the backend holds."""
        if self._backend is not None:
            self._backend.__exit__(None, None, None)
            self._backend = None


def host_as_config(host: Host | None) -> dict[str, Any] | None:
    """Plain values that a config can hold."""
    if host is None:
        return None
    fields = asdict(host).items()
    return {name: str(value) if isinstance(value, Path) else value for name, value in fields}


def host_from_config(host: Mapping[str, Any] | None) -> dict[str, Any]:
    """The reverse of ``host_as_config``, as arguments of ``open_backend``.

    Lost connections are told on standard error: the test loop's own output may be turned off.
    """
    if host is None:
        return {}
    paths = {name: Path(host[name]) for name in ("identity", "config") if host.get(name)}
    return {"host": Host(**{**host, **paths}), "say": partial(print, file=sys.stderr)}


def backend_from_module(
    module: Deployable | PillarDeployable,
    manifest: Manifest | PillarManifest,
    *,
    device: str = "cpu",
    exact: bool = True,
) -> PytorchBackend:
    """The PyTorch side of an export, with the names and sizes of the manifest."""
    return PytorchBackend(
        module, manifest.inputs(), manifest.output_names, device=device, exact=exact
    )


def load_module(
    folder: str | Path, manifest: Manifest | PillarManifest
) -> Deployable | PillarDeployable:
    """What was exported, from config.py and weights.pth of the folder."""
    detector = build_detector(load_config(Path(folder) / CONFIG_FILE))
    weights = load_checkpoint(Path(folder) / WEIGHTS_FILE)["state_dict"]
    load_weights(detector, weights, where=WEIGHTS_FILE)
    if isinstance(manifest, PillarManifest):
        grid = manifest.voxelization
        pillars = grid.max_pillars if grid.filled else None
        return pillar_deployable(detector, batch=manifest.batch, pillars=pillars)
    return deployable(detector, image_size=manifest.image_size)
