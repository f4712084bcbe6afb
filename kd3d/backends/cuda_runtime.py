"""Device memory, streams, events and graphs through libcudart, with ctypes alone.

TensorRT's Python API wants addresses and has nothing that makes them. The usual helpers (PyTorch,
PyCUDA, cuda-python) are not on a vehicle; the runtime library is, as TensorRT needs CUDA. The
functions used have one signature in CUDA 11, 12 and 13 (tools/tensorrt_api checks that).
Python 3.8, NumPy and the standard library only.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from pathlib import Path
from typing import Any, Iterator  # noqa: UP035  (the vehicle runs Python 3.8)

import numpy as np

from kd3d.errors import UserError

FUNCTIONS: dict[str, list[Any]] = {
    "cudaGetErrorName": [c_int],
    "cudaGetErrorString": [c_int],
    "cudaGetDeviceCount": [POINTER(c_int)],
    "cudaGetDeviceProperties": [c_void_p, c_int],
    "cudaDeviceGetAttribute": [POINTER(c_int), c_int, c_int],
    "cudaMalloc": [POINTER(c_void_p), c_size_t],
    "cudaFree": [c_void_p],
    "cudaHostAlloc": [POINTER(c_void_p), c_size_t, c_uint],
    "cudaFreeHost": [c_void_p],
    "cudaMemcpyAsync": [c_void_p, c_void_p, c_size_t, c_int, c_void_p],
    "cudaStreamCreateWithFlags": [POINTER(c_void_p), c_uint],
    "cudaStreamDestroy": [c_void_p],
    "cudaStreamSynchronize": [c_void_p],
    "cudaStreamBeginCapture": [c_void_p, c_int],
    "cudaStreamEndCapture": [c_void_p, POINTER(c_void_p)],
    "cudaEventCreateWithFlags": [POINTER(c_void_p), c_uint],
    "cudaEventDestroy": [c_void_p],
    "cudaEventRecord": [c_void_p, c_void_p],
    "cudaEventElapsedTime": [POINTER(c_float), c_void_p, c_void_p],
    "cudaGraphInstantiateWithFlags": [POINTER(c_void_p), c_void_p, c_ulonglong],
    "cudaGraphLaunch": [c_void_p, c_void_p],
    "cudaGraphDestroy": [c_void_p],
    "cudaGraphExecDestroy": [c_void_p],
}
"""Every function of the library that is called, with the types of its arguments."""

SONAMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")

_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2  # cudaMemcpyKind
_NON_BLOCKING = 1  # cudaStreamNonBlocking: the default stream of others does not hold it up
_CAPTURE_THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal
_COMPUTE_CAPABILITY = (75, 76)  # cudaDevAttrComputeCapabilityMajor, ...Minor
_SMS = 16  # cudaDevAttrMultiProcessorCount
_PROPERTIES_BYTES = 16384  # cudaDeviceProp has about 1 kB, another size in each CUDA
_NAME_BYTES = 256  # its first member: char name[256]


class CudaError(UserError):
    """A call of the CUDA runtime failed; the message has its name, as "cudaErrorNoDevice"."""


class CudaRuntime:
    """Calls into one loaded libcudart; every failure is a CudaError. Handles are plain integers.

    Args:
        library: the loaded library.
        path: what it was loaded as, for messages.
    """

    def __init__(self, library: Any, path: str) -> None:  # Any: ctypes.CDLL finds names late
        self.path = path
        self._library = library
        for name, arguments in FUNCTIONS.items():
            function = getattr(library, name)
            function.argtypes = arguments
            function.restype = c_char_p if name.startswith("cudaGetError") else c_int

    def devices(self) -> int:
        """How many GPUs there are."""
        return self._made(c_int, "cudaGetDeviceCount")

    def gpu(self) -> tuple[str, str]:
        """Name and compute capability of the first GPU: ("Orin", "8.7")."""
        properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
        self._call("cudaGetDeviceProperties", ctypes.cast(properties, c_void_p), 0)
        name = properties.raw[:_NAME_BYTES].split(b"\0")[0].decode(errors="replace")
        capability = [
            str(self._made(c_int, "cudaDeviceGetAttribute", attribute, 0))
            for attribute in _COMPUTE_CAPABILITY
        ]
        return name, ".".join(capability)

    def sms(self) -> int:
        """SMs of the first GPU that are on line; a board's power mode can switch some off."""
        return self._made(c_int, "cudaDeviceGetAttribute", _SMS, 0)

    def allocate(self, size: int) -> int:
        """Address of ``size`` bytes on the GPU."""
        return self._made(c_void_p, "cudaMalloc", size)

    def free(self, address: int) -> None:
        """Gives memory of ``allocate`` back."""
        self._call("cudaFree", address)

    def allocate_host(self, size: int) -> int:
        """Address of ``size`` bytes of page-locked memory on the host."""
        return self._made(c_void_p, "cudaHostAlloc", size, 0)

    def free_host(self, address: int) -> None:
        """Gives memory of ``allocate_host`` back."""
        self._call("cudaFreeHost", address)

    def copy_to_device(self, target: int, source: int, size: int, stream: int) -> None:
        """Enqueues a copy of ``size`` bytes from the host's address to the GPU's."""
        self._call("cudaMemcpyAsync", target, source, size, _HOST_TO_DEVICE, stream)

    def copy_to_host(self, target: int, source: int, size: int, stream: int) -> None:
        """Enqueues a copy of ``size`` bytes from the GPU's address to the host's."""
        self._call("cudaMemcpyAsync", target, source, size, _DEVICE_TO_HOST, stream)

    def create_stream(self) -> int:
        """A stream of its own, beside the default one."""
        return self._made(c_void_p, "cudaStreamCreateWithFlags", _NON_BLOCKING)

    def destroy_stream(self, stream: int) -> None:
        """Ends a stream."""
        self._call("cudaStreamDestroy", stream)

    def synchronize(self, stream: int) -> None:
        """Returns when all that was enqueued is done."""
        self._call("cudaStreamSynchronize", stream)

    def create_event(self) -> int:
        """An event that takes the time."""
        return self._made(c_void_p, "cudaEventCreateWithFlags", 0)

    def destroy_event(self, event: int) -> None:
        """Ends an event."""
        self._call("cudaEventDestroy", event)

    def record(self, event: int, stream: int) -> None:
        """Enqueues the event: it happens when all before it is done."""
        self._call("cudaEventRecord", event, stream)

    def elapsed_ms(self, start: int, end: int) -> float:
        """Milliseconds between two events that have happened; resolution about 0.5 us."""
        elapsed = c_float()
        self._call("cudaEventElapsedTime", ctypes.byref(elapsed), start, end)
        return float(elapsed.value)

    def begin_capture(self, stream: int) -> None:
        """From here on the stream's work is written down, not done."""
        self._call("cudaStreamBeginCapture", stream, _CAPTURE_THREAD_LOCAL)

    def end_capture(self, stream: int) -> int:
        """The graph of what was written down since ``begin_capture``, ready to be launched."""
        graph = self._made_after(c_void_p, "cudaStreamEndCapture", stream)
        try:
            return self._made(c_void_p, "cudaGraphInstantiateWithFlags", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        """Enqueues all of a graph."""
        self._call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        """Ends a graph of ``end_capture``."""
        self._call("cudaGraphExecDestroy", graph)

    def _made(self, kind: Any, function: str, *arguments: Any) -> int:
        """Calls a function that writes its result where its first argument points."""
        made = kind()
        self._call(function, ctypes.byref(made), *arguments)
        return int(made.value or 0)

    def _made_after(self, kind: Any, function: str, *arguments: Any) -> int:
        """The same where the result comes last."""
        made = kind()
        self._call(function, *arguments, ctypes.byref(made))
        return int(made.value or 0)

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            name = self._library.cudaGetErrorName(code).decode()
            text = self._library.cudaGetErrorString(code).decode()
            raise CudaError(f"{self.path}: {function} failed with {name} ({code}): {text}")


def open_cuda_runtime() -> CudaRuntime:
    """The first libcudart of this machine that finds a GPU.

    Looked for by name where the loader looks (LD_LIBRARY_PATH too), then in CUDA_HOME, in
    /usr/local/cuda*, and beside NVIDIA's packages from PyPI. One that is newer than the driver
    does not find the GPU; then the next is tried.

    Raises:
        CudaError: if none does; the message has what each said.
    """
    said: list[str] = []
    seen: set[Path] = set()
    for candidate in _candidates():
        path = Path(candidate)
        if path.is_absolute() and path.resolve() in seen:
            continue
        seen.add(path.resolve())
        runtime = _working(candidate, said)
        if runtime is not None:
            return runtime
    raise CudaError(
        "no CUDA runtime that works: " + "; ".join(said) + ". TensorRT needs an NVIDIA GPU with "
        f"its driver and one of {', '.join(SONAMES[:3])}; add its folder to LD_LIBRARY_PATH"
    )


def _working(path: str, said: list[str]) -> CudaRuntime | None:
    """The library if it finds a GPU; otherwise adds the reason to ``said``."""
    try:
        runtime = CudaRuntime(ctypes.CDLL(path), path)
        if runtime.devices():
            return runtime
        said.append(f"{path}: finds no GPU")
    except CudaError as error:
        said.append(str(error))
    except (OSError, AttributeError) as error:
        said.append(str(error) if path in str(error) else f"{path}: {error}")
    return None


def _candidates() -> Iterator[str]:
    """Names for the loader, then files that exist, the newest CUDA first."""
    yield from SONAMES
    homes = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    local = sorted(Path("/usr/local").glob("cuda*"), reverse=True)
    packages = Path(np.__file__).parents[1] / "nvidia"
    for folder in [*homes, *local, packages]:
        for name in SONAMES:
            for pattern in ("lib64", "targets/*/lib", "*/lib"):
                yield from sorted(str(path) for path in folder.glob(f"{pattern}/{name}"))
