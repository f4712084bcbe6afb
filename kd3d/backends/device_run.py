"""One inference on the GPU, in the parts that are timed: copies in, kernels, copies out.

Memory for the largest shapes of the engine's profile is taken once, on the GPU and page-locked on
the host, so that neither another batch nor another number of pillars allocates anything.
Python 3.8, NumPy and tensorrt only.
"""

from __future__ import annotations

import ctypes
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping  # noqa: UP035  (the vehicle runs Python 3.8)

import numpy as np

from kd3d.backends.base import Array, Feeds
from kd3d.backends.cuda_runtime import CudaError, CudaRuntime
from kd3d.backends.engine_tensors import EngineTensors
from kd3d.errors import UserError

if TYPE_CHECKING:
    import tensorrt as trt
    from typing_extensions import Self


@dataclass(frozen=True)
class DeviceTimes:
    """One run, taken apart by CUDA events.

    Attributes:
        host_to_device_ms: copies of the inputs; 0 without copies.
        device_ms: kernels, from the first to the end of the last.
        device_to_host_ms: copies of the outputs; 0 without copies.
        enqueue_ms: what the host spent to hand all of it to the GPU.
    """

    host_to_device_ms: float
    device_ms: float
    device_to_host_ms: float
    enqueue_ms: float


class DeviceRun:
    """Memory, stream and events of one execution context.

    Everything it holds ends with its ``with`` block (or with ``close``): the graph, the context,
    then the memory that both work in.

    Args:
        context: of the engine; no other run may use it, and nobody may keep it.
        tensors: names, types and largest shapes of the engine's inputs and outputs.
        cuda: what gives memory.
    """

    def __init__(
        self, context: trt.IExecutionContext, tensors: EngineTensors, cuda: CudaRuntime
    ) -> None:
        self._context: trt.IExecutionContext = context
        del context  # the traceback of an error below would keep it
        self._tensors = tensors
        self._cuda = cuda
        self._graph = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._device: dict[str, int] = {}
        self._host: dict[str, Array] = {}
        self._owned = ExitStack()
        try:
            self._stream = cuda.create_stream()
            self._owned.callback(cuda.destroy_stream, self._stream)
            self._events = [self._new_event() for _ in range(4)]
            self._allocate()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives everything back; the run cannot be used any more."""
        with ExitStack() as stack:  # all of it, though CUDA answers every call with its first error
            stack.callback(self._owned.close)
            stack.callback(self._drop_context)
            stack.callback(self._drop_graph)

    def load(self, feeds: Feeds) -> None:
        """Takes over other inputs: to the page-locked memory, their shapes to the context.

        A graph of other shapes is dropped.

        Args:
            feeds: arrays that fit the engine's inputs.

        Raises:
            UserError: if TensorRT refuses a shape.
        """
        shapes = {name: tuple(int(size) for size in feeds[name].shape) for name in feeds}
        if shapes != {name: self._shapes.get(name) for name in shapes}:
            self._drop_graph()
            self._set_shapes(shapes)
        for name, array in feeds.items():
            np.copyto(self._view(name), array)

    def report_layers_to(self, profiler: trt.IProfiler) -> None:
        """Tells the time of each layer of every run; nothing else is to be timed from now on."""
        self._context.profiler = profiler

    @property
    def captured(self) -> bool:
        """Whether ``enqueue`` launches a graph; one of other shapes was dropped."""
        return bool(self._graph)

    def capture(self) -> None:
        """Records the kernels as a CUDA graph, which ``enqueue`` launches from then on.

        They run once before: TensorRT prepares a shape in its first run, and that cannot be
        recorded.

        Raises:
            CudaError: if the engine cannot be captured (it waits for the GPU in between).
        """
        self._drop_graph()
        self.enqueue()
        self.synchronize()
        self._cuda.begin_capture(self._stream)
        try:
            self.enqueue()
        finally:
            self._graph = self._cuda.end_capture(self._stream)

    def host_to_device(self) -> None:
        """Enqueues the copies of the inputs."""
        for name in self._tensors.inputs:
            source = self._view(name)
            self._cuda.copy_to_device(
                self._device[name], source.ctypes.data, source.nbytes, self._stream
            )

    def enqueue(self) -> None:
        """Enqueues the kernels, or the graph of them.

        Raises:
            UserError: if TensorRT refuses.
        """
        if self._graph:
            self._cuda.launch(self._graph, self._stream)
        elif not self._context.execute_async_v3(self._stream):
            raise UserError(f"TensorRT cannot run the engine:\n{self._tensors.messages.text()}")

    def device_to_host(self) -> None:
        """Enqueues the copies of the outputs."""
        for name in self._tensors.outputs:
            target = self._view(name)
            self._cuda.copy_to_host(
                target.ctypes.data, self._device[name], target.nbytes, self._stream
            )

    def synchronize(self) -> None:
        """Returns when the GPU has done all that was enqueued."""
        self._cuda.synchronize(self._stream)

    def timed(self, *, copies: bool = True) -> DeviceTimes:
        """Runs once and takes its parts' times; without copies the inputs stay as they are."""
        start = time.perf_counter()
        self._mark(0)
        if copies:
            self.host_to_device()
        self._mark(1)
        self.enqueue()
        self._mark(2)
        if copies:
            self.device_to_host()
        self._mark(3)
        enqueued = time.perf_counter()
        self.synchronize()
        events = self._events
        parts = [self._cuda.elapsed_ms(events[i], events[i + 1]) for i in range(3)]
        return DeviceTimes(
            parts[0] if copies else 0.0,
            parts[1],
            parts[2] if copies else 0.0,
            (enqueued - start) * 1e3,
        )

    def outputs(self) -> dict[str, Array]:
        """Copies of what the last run wrote; call after ``device_to_host`` and ``synchronize``."""
        return {name: self._view(name).copy() for name in self._tensors.outputs}

    def _new_event(self) -> int:
        event = self._cuda.create_event()
        self._owned.callback(self._cuda.destroy_event, event)
        return event

    def _mark(self, index: int) -> None:
        self._cuda.record(self._events[index], self._stream)

    def _allocate(self) -> None:
        """Memory for the largest shapes; the context is told the addresses, which stay."""
        self._set_shapes(self._tensors.largest_inputs)
        sizes = {name: self._size(name) for name in (*self._tensors.inputs, *self._tensors.outputs)}
        for name, size in sizes.items():
            try:
                self._device[name] = self._cuda.allocate(size)
                self._owned.callback(self._cuda.free, self._device[name])
                address = self._cuda.allocate_host(size)
            except CudaError as error:
                raise UserError(
                    f"{error}: inputs and outputs take {sum(sizes.values()) / 1e6:.0f} MB on the "
                    f"GPU and as much on the host; {self._tensors.memory_hint}"
                ) from None
            self._owned.callback(self._cuda.free_host, address)
            self._host[name] = _bytes_at(address, size)
            if not self._context.set_tensor_address(name, self._device[name]):
                raise UserError(
                    f"TensorRT refuses memory for '{name}':\n{self._tensors.messages.text()}"
                )

    def _size(self, name: str) -> int:
        """Bytes of a tensor, at least one: an address must exist where a shape has no element."""
        dtype = np.dtype(self._tensors.dtypes[name])
        return max(1, int(np.prod(self._shapes[name], dtype=np.int64)) * dtype.itemsize)

    def _set_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Tells the context the inputs' shapes and reads the outputs' from it."""
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise UserError(
                    f"input '{name}': the engine does not take {shape}:\n"
                    f"{self._tensors.messages.text()}"
                )
        self._shapes = dict(shapes)
        for name in self._tensors.outputs:
            shape = tuple(int(size) for size in self._context.get_tensor_shape(name))
            if min(shape, default=0) < 0:
                raise UserError(
                    f"output '{name}' has shape {shape}: its size depends on values, which only "
                    "graphs from elsewhere have; export the model with tools/export.py"
                )
            self._shapes[name] = shape

    def _view(self, name: str) -> Array:
        """The page-locked memory of a tensor, in its present shape."""
        shape, dtype = self._shapes[name], np.dtype(self._tensors.dtypes[name])
        count = int(np.prod(shape, dtype=np.int64))
        return self._host[name][: count * dtype.itemsize].view(dtype).reshape(shape)

    def _drop_context(self) -> None:
        vars(self).pop("_context", None)  # TensorRT ends it with its last reference

    def _drop_graph(self) -> None:
        if self._graph:
            self._cuda.destroy_graph(self._graph)
            self._graph = 0


def _bytes_at(address: int, size: int) -> Array:
    """(size,) uint8 view of memory that someone else owns."""
    kind: Any = ctypes.c_ubyte * size
    return np.frombuffer(kind.from_address(address), dtype=np.uint8)
