"""Backend over ONNX Runtime.

Imported on the vehicle too: Python 3.8; onnxruntime itself is imported when a file is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd3d.backends.base import Array, Feeds, TensorSpec, check_feeds
from kd3d.backends.openmp import openmp_threads
from kd3d.errors import UserError

if TYPE_CHECKING:
    from typing_extensions import Self

# ONNX Runtime's names of the types an exported detector has.
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}
_TF32_OPTION = (1, 18)  # first version of ONNX Runtime with it; others would not open CUDA then


class OnnxRuntimeBackend:
    """Runs an ONNX file on CUDA where ONNX Runtime offers it, otherwise on the CPU.

    Args:
        path: the ONNX file.
        threads: inside one operator. None: what OMP_NUM_THREADS says, as PyTorch reads it, for
            comparisons; else ONNX Runtime's own choice.
        exact: for comparisons, float32 is computed without TF32 (ONNX Runtime before 1.18 cannot
            leave it out), and between the Q/DQ of an INT8 file as the file says, in float: its
            int8 kernels saturate on processors without VNNI, as no TensorRT engine does. A
            latency is that of its own choice, as users run it.

    Raises:
        UserError: if the file is missing or ONNX Runtime cannot load it.
    """

    name = "onnxruntime"

    def __init__(self, path: str | Path, *, threads: int | None = None, exact: bool = True) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"no ONNX file at {self.path}")
        self._threads = openmp_threads() if threads is None and exact else threads
        self.exact = exact
        self._session: Any = self._open()  # Any: onnxruntime is untyped
        on_cuda = "CUDAExecutionProvider" in self._session.get_providers()
        self.device = "cuda" if on_cuda else "cpu"
        self.inputs = tuple(_spec_from_input(node) for node in self._session.get_inputs())
        self.output_names = tuple(str(node.name) for node in self._session.get_outputs())

    def __enter__(self) -> Self:
        if self._session is None:
            self._session = self._open()
        return self

    def __exit__(self, *error: object) -> None:
        self._session = None

    def infer(self, feeds: Feeds) -> dict[str, Array]:
        """Runs the session once."""
        assert self._session is not None, "use the backend inside its with block"
        check_feeds(self.inputs, feeds)
        outputs = self._session.run(self.output_names, dict(feeds))
        assert len(outputs) == len(self.output_names), (len(outputs), self.output_names)
        return dict(zip(self.output_names, outputs))  # noqa: B905  (strict is Python 3.10's)

    def _open(self) -> Any:
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise UserError(
                f"{self.path}: the backend 'onnxruntime' needs the package onnxruntime, which "
                "this Python does not have; pip install onnxruntime, or choose another backend"
            ) from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # warnings speak of its own optimiser, not of the model
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
            options.inter_op_num_threads = 1
        if self.exact:  # else sums of int8 products saturate at 16 bits on x86 without VNNI
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        providers: list[Any] = ["CPUExecutionProvider"]
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
            cuda = {"use_tf32": "0"} if self.exact and version >= _TF32_OPTION else {}
            providers.insert(0, ("CUDAExecutionProvider", cuda))
        try:
            return onnxruntime.InferenceSession(str(self.path), options, providers=providers)
        except Exception as error:  # onnxruntime raises its own unrelated types
            raise UserError(f"{self.path}: ONNX Runtime cannot load it: {error}") from error


def _spec_from_input(node: Any) -> TensorSpec:
    if node.type not in _DTYPES:
        raise UserError(f"input '{node.name}' has type {node.type}, expected one of {[*_DTYPES]}")
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorSpec(node.name, shape, _DTYPES[node.type])
