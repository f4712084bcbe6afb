"""libcudart for tests: host memory, streams that wait until they are synchronized, graphs.

Takes what ``kd3d.backends.cuda_runtime`` passes through ctypes, and checks it as the library's own
argument types would. Runs on Python 3.8.
"""

import ctypes

ERRORS = {
    1: "cudaErrorInvalidValue",
    2: "cudaErrorMemoryAllocation",
    35: "cudaErrorInsufficientDriver",
    400: "cudaErrorInvalidResourceHandle",
    600: "cudaErrorNotReady",
    901: "cudaErrorStreamCaptureInvalidated",
}
KERNELS_MS = 1.0
COPY_MS = 0.25


class Failure(Exception):  # noqa: N818  (no error of the test)
    """Ends a call with an error code."""


class Function:
    """A function of the library: insists on ``argtypes`` and on fitting arguments."""

    def __init__(self, name, body):
        self.name, self.body, self.argtypes, self.restype = name, body, None, None

    def __call__(self, *arguments):
        assert self.argtypes is not None, f"{self.name}: argtypes were not set"
        assert len(arguments) == len(self.argtypes), (self.name, arguments)
        values = [_value(a, kind) for a, kind in zip(arguments, self.argtypes)]  # noqa: B905  (Python 3.8)
        if self.restype is ctypes.c_char_p:
            return self.body(*values)
        try:
            self.body(*values)
        except Failure as failure:
            return int(str(failure))
        return 0


def _value(argument, kind):
    """An integer, or the object that a pointer points to."""
    pointed = getattr(argument, "_obj", None)
    if pointed is not None:
        assert kind is ctypes.POINTER(type(pointed)), (argument, kind)
        return pointed
    if isinstance(argument, ctypes.c_void_p):
        return argument.value
    assert type(argument) is int, (argument, kind)  # what ctypes takes; NumPy's integers it refuses
    return argument


class FakeCudart:
    """The library.

    Attributes:
        gpu: name and compute capability of the GPU.
        sms: of it, on line.
        devices: how many there are.
        memory_limit: bytes that the GPU has.
        insufficient_driver: whether every call fails, as where the library is too new.
    """

    def __init__(self, gpu=("Orin", (8, 7)), devices=1):
        self.gpu, self.sms, self.devices = gpu, 16, devices
        self.memory_limit, self.insufficient_driver = 1 << 30, False
        self.blocks, self.queues, self.captures = {}, {}, {}
        self.graphs, self.events, self.now_ms = {}, {}, 0.0
        self.launches = 0  # of graphs
        self.allocations, self._handles = 0, 1000
        bodies = [name for name in dir(self) if name.startswith("_cuda")]
        for name in bodies:
            setattr(self, name[1:], Function(name[1:], getattr(self, name)))

    def live(self):
        """How many things were made and not given back."""
        return sum(map(len, (self.blocks, self.queues, self.graphs, self.events)))

    def do(self, stream, work):
        """Enqueues a Python function, as a kernel launch would; within a capture it is recorded."""
        if stream not in self.queues:
            raise Failure(400)
        target = self.captures.get(stream)
        (self.queues[stream] if target is None else target).append(work)

    def capturing(self, stream):
        return stream in self.captures

    def spoil_capture(self, stream):
        """What a wait or an allocation within a capture does."""
        self.captures[stream] = None

    def read(self, address, size):
        """Bytes of the GPU's memory."""
        self._inside(address, size, "device")
        return ctypes.string_at(address, size)

    def write(self, address, content):
        self._inside(address, len(content), "device")
        ctypes.memmove(address, content, len(content))

    def _inside(self, address, size, place):
        for start, (block, where) in self.blocks.items():
            if start <= address and address + size <= start + len(block):
                assert where == place, f"expected {place} memory, got {where}"
                return
        raise Failure(1)

    def _new(self):
        self._handles += 1
        return self._handles

    def _allocate(self, pointer, size, where):
        used = sum(len(block) for block, place in self.blocks.values() if place == where)
        if used + size > self.memory_limit:
            raise Failure(2)
        block = ctypes.create_string_buffer(b"\xfe" * size, size)  # nobody may rely on zeros
        pointer.value = ctypes.addressof(block)
        self.blocks[pointer.value] = (block, where)
        self.allocations += 1

    def _cudaGetErrorName(self, code):  # noqa: N802  (CUDA's names, here and below)
        return ERRORS[code].encode()

    def _cudaGetErrorString(self, code):  # noqa: N802
        return b"in words"

    def _cudaGetDeviceCount(self, count):  # noqa: N802
        if self.insufficient_driver:
            raise Failure(35)
        count.value = self.devices

    def _cudaGetDeviceProperties(self, properties, device):  # noqa: N802
        assert device == 0
        content = self.gpu[0].encode() + b"\0"
        ctypes.memmove(properties, content, len(content))

    def _cudaDeviceGetAttribute(self, value, attribute, device):  # noqa: N802
        major, minor = self.gpu[1]
        value.value = {16: self.sms, 75: major, 76: minor}[attribute]

    def _cudaMalloc(self, pointer, size):  # noqa: N802
        self._allocate(pointer, size, "device")

    def _cudaHostAlloc(self, pointer, size, flags):  # noqa: N802
        self._allocate(pointer, size, "host")

    def _cudaFree(self, address):  # noqa: N802
        assert self.blocks.pop(address)[1] == "device"

    def _cudaFreeHost(self, address):  # noqa: N802
        assert self.blocks.pop(address)[1] == "host"

    def _cudaMemcpyAsync(self, target, source, size, kind, stream):  # noqa: N802
        places = {1: ("device", "host"), 2: ("host", "device")}[kind]
        self._inside(target, size, places[0])
        self._inside(source, size, places[1])

        def copy():
            ctypes.memmove(target, source, size)
            self.now_ms += COPY_MS

        self.do(stream, copy)

    def _cudaStreamCreateWithFlags(self, stream, flags):  # noqa: N802
        assert flags == 1, "the default stream would wait for others"
        stream.value = self._new()
        self.queues[stream.value] = []

    def _cudaStreamDestroy(self, stream):  # noqa: N802
        del self.queues[stream]

    def _cudaStreamSynchronize(self, stream):  # noqa: N802
        if self.capturing(stream):
            self.spoil_capture(stream)
            raise Failure(901)
        work, self.queues[stream] = self.queues[stream], []
        for step in work:
            step()

    def _cudaStreamBeginCapture(self, stream, mode):  # noqa: N802
        self.captures[stream] = []

    def _cudaStreamEndCapture(self, stream, graph):  # noqa: N802
        recorded = self.captures.pop(stream)
        if recorded is None:
            raise Failure(901)
        graph.value = self._new()
        self.graphs[graph.value] = recorded

    def _cudaGraphInstantiateWithFlags(self, executable, graph, flags):  # noqa: N802
        executable.value = self._new()
        self.graphs[executable.value] = list(self.graphs[graph])

    def _cudaGraphLaunch(self, executable, stream):  # noqa: N802
        self.launches += 1
        for step in self.graphs[executable]:
            self.do(stream, step)

    def _cudaGraphDestroy(self, graph):  # noqa: N802
        del self.graphs[graph]

    def _cudaGraphExecDestroy(self, graph):  # noqa: N802
        del self.graphs[graph]

    def _cudaEventCreateWithFlags(self, event, flags):  # noqa: N802
        event.value = self._new()
        self.events[event.value] = None

    def _cudaEventDestroy(self, event):  # noqa: N802
        del self.events[event]

    def _cudaEventRecord(self, event, stream):  # noqa: N802
        self.events[event] = None

        def happen():
            self.events[event] = self.now_ms

        self.do(stream, happen)

    def _cudaEventElapsedTime(self, elapsed, start, end):  # noqa: N802
        if self.events[start] is None or self.events[end] is None:
            raise Failure(600)
        elapsed.value = self.events[end] - self.events[start]
