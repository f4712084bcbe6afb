"""Backend over a TensorRT engine. Python 3.8, NumPy and tensorrt only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd3d.backends.base import Array, Feeds
from kd3d.backends.cuda_runtime import open_cuda_runtime
from kd3d.backends.device_run import DeviceRun
from kd3d.backends.engine_tensors import EngineTensors
from kd3d.backends.layer_times import LayerTime, measure_layers
from kd3d.backends.tensorrt_module import Messages, logger_of, register_plugins, tensorrt_module
from kd3d.errors import UserError

if TYPE_CHECKING:
    import tensorrt as trt
    from typing_extensions import Self


class TrtBackend:
    """Runs an engine of ``engine_from_onnx`` on the first GPU.

    At the end of its ``with`` block goes, each after what works in it: execution context, memory,
    engine, runtime. Entered again, it loads the engine again.

    Args:
        engine_path: the engine, built on this machine.
        cuda_graph: launch the kernels as one CUDA graph; captured for the first inputs, and again
            for those of another shape.

    Raises:
        UserError: if there is no TensorRT or GPU, or TensorRT cannot load the engine (it is
            damaged, or of another version or GPU).
    """

    name = "tensorrt"
    device = "cuda"

    def __init__(self, engine_path: str | Path, *, cuda_graph: bool = False) -> None:
        self.path = Path(engine_path)
        self.cuda_graph = cuda_graph
        if not self.path.is_file():
            raise UserError(f"no engine at {self.path}; build one with engine_from_onnx")
        self._trt: Any = tensorrt_module()  # Any: TensorRT is untyped
        self._cuda = open_cuda_runtime()
        self._messages = Messages()
        register_plugins(self._trt)
        self._open()
        self._tensors = EngineTensors(self._trt, self._engine, self._messages)
        self._entered = False
        self._run: DeviceRun | None = None  # made by the first infer: `prepare` does without
        self.inputs = self._tensors.specs
        self.output_names = self._tensors.outputs

    def __enter__(self) -> Self:
        if "_engine" not in vars(self):
            self._open()
        self._entered = True
        return self

    def __exit__(self, *error: object) -> None:
        self._entered = False
        try:
            self._close_run()
        finally:
            for name in ("_engine", "_runtime"):  # TensorRT ends them with their last reference
                vars(self).pop(name, None)

    def infer(self, feeds: Feeds) -> dict[str, Array]:
        """Copies in, runs, copies out.

        Raises:
            UserError: if ``feeds`` does not fit, or the engine cannot be captured.
        """
        assert self._entered, "use the backend inside its with block"
        fitted = self._tensors.fit(feeds)
        if self._run is None:
            self._run = self._new_run()
        run = self._run
        run.load(fitted)
        run.host_to_device()
        if self.cuda_graph and not run.captured:
            run.capture()
        run.enqueue()
        run.device_to_host()
        run.synchronize()
        return run.outputs()

    def prepare(self, feeds: Feeds) -> DeviceRun:
        """A run of its own for timing: ``with backend.prepare(feeds) as run: run.timed()``.

        It has run once, so the inputs are on the GPU. One at a time, and no ``infer`` before its
        end: before TensorRT 10 an engine's profile belongs to one context.

        Args:
            feeds: its inputs.

        Raises:
            UserError: if ``feeds`` does not fit, or the engine cannot be captured.
        """
        run = self._new_run()
        try:
            run.load(self._tensors.fit(feeds))
            run.host_to_device()
            run.enqueue()
            run.synchronize()
            if self.cuda_graph:
                run.capture()
        except BaseException:
            run.close()
            raise
        return run

    def layer_times(self, feeds: Feeds) -> list[LayerTime]:
        """Mean time of each layer of the built engine, in its order.

        TensorRT takes them one by one, so their sum is more than the time of a run.

        Raises:
            UserError: if ``feeds`` does not fit.
        """
        with self._new_run() as run:
            run.load(self._tensors.fit(feeds))
            run.host_to_device()
            return measure_layers(self._trt, self._engine, run)

    def _new_run(self) -> DeviceRun:
        self._close_run()
        return DeviceRun(self._new_context(), self._tensors, self._cuda)

    def _close_run(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.close()

    def _new_context(self) -> trt.IExecutionContext:
        context = self._engine.create_execution_context()
        if context is None:
            raise UserError(
                f"{self.path}: TensorRT cannot make an execution context:\n"
                f"{self._messages.text()}\nIf the GPU's memory is full, "
                f"{self._tensors.memory_hint}"
            )
        return context

    def _open(self) -> None:
        self._runtime: trt.Runtime = self._make_runtime()
        self._engine: trt.ICudaEngine = self._load()

    def _make_runtime(self) -> trt.Runtime:
        try:
            return self._trt.Runtime(logger_of(self._trt))
        except TypeError:  # pybind11's word for a factory that returned nothing
            raise UserError(
                f"TensorRT {self._trt.__version__} does not start on this machine:\n"
                f"{self._messages.text()}"
            ) from None

    def _load(self) -> trt.ICudaEngine:
        engine = self._runtime.deserialize_cuda_engine(self.path.read_bytes())
        if engine is None:
            raise UserError(
                f"{self.path}: TensorRT {self._trt.__version__} cannot load this engine:\n"
                f"{self._messages.text()}\n"
                "engines run only on the version and GPU that built them; build it here from its "
                "ONNX file with engine_from_onnx"
            )
        return engine
