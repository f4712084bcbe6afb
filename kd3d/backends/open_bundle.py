"""Opens a device bundle in one of the backends that need no PyTorch.

Runs on the vehicle too: Python 3.8, NumPy and the standard library; onnxruntime or tensorrt is
imported when it is asked for.
"""

from __future__ import annotations

from pathlib import Path

from kd3d.backends.base import Backend
from kd3d.backends.bundle import Bundle
from kd3d.errors import UserError
from kd3d.files import user_cache

BUNDLE_BACKENDS = ("onnxruntime", "tensorrt")


def engine_cache() -> Path:
    """Where this user's engines are kept, and what TensorRT has measured.

    Not in the bundle: one from elsewhere could bring an engine, and an engine is code.
    """
    return user_cache() / "engines"


def open_bundle(
    bundle: Bundle,
    name: str,
    *,
    engines: Path | None = None,
    precision: str = "fp32",
    threads: int | None = None,
    exact: bool = True,
    timing_dir: Path | None = None,
    cuda_graph: bool = False,
) -> Backend:
    """The network of a bundle as a Backend.

    Args:
        bundle: the model's hash is compared with the one in export.json.
        name: "onnxruntime" runs the ONNX file; "tensorrt" builds an engine from it first.
        engines: folder that keeps built engines, below the hash of their model; one that fits
            is used again. None is ``engine_cache()``.
        precision: "fp32", "fp16" or "int8", if the bundle has it.
        threads: of ONNX Runtime inside one operator; None leaves the choice to it.
        exact: ONNX Runtime leaves TF32 out; False for latencies. An engine is the same for both.
        timing_dir: what TensorRT has measured, for all engines that are built; None is ``engines``.
        cuda_graph: launch an engine's kernels as one CUDA graph; nothing to ONNX Runtime.

    Raises:
        UserError: for an unknown backend, a precision that the bundle lacks, a changed file, or a
            file that the backend cannot run.
    """
    if name not in BUNDLE_BACKENDS:
        raise UserError(f"unknown backend '{name}'; expected one of {', '.join(BUNDLE_BACKENDS)}")
    model = bundle.verify(precision)
    if name == "onnxruntime":
        from kd3d.backends.ort import OnnxRuntimeBackend

        return OnnxRuntimeBackend(model, threads=threads, exact=exact)
    from kd3d.backends.engine import engine_from_onnx
    from kd3d.backends.trt import TrtBackend

    engines = engines or engine_cache()
    folder = engines / bundle.models[precision].sha256[:12]
    engine = engine_from_onnx(
        model, folder, profiles=bundle.profiles, timing_dir=timing_dir or engines
    )
    return TrtBackend(engine, cuda_graph=cuda_graph)
