"""TensorRT's Python module, imported when it is needed, and what it says.

Python 3.8 and the standard library only, until ``tensorrt_module`` is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kd3d.errors import UserError

if TYPE_CHECKING:
    import tensorrt as trt

# The plugins' library keeps the address of its last logger, and nothing in Python does.
_PLUGIN_LOGGERS: list[Any] = []
OLDEST = (8, 5)  # the first with named tensors: num_io_tensors, execute_async_v3


def tensorrt_module() -> Any:  # Any: TensorRT is untyped
    """The module ``tensorrt``.

    Raises:
        UserError: if it is absent, does not load, or is older than 8.5.
    """
    try:
        import tensorrt as trt
    except (ImportError, OSError) as error:
        raise UserError(
            f"TensorRT cannot be imported: {error}. On a Jetson or DRIVE it comes with the system "
            "(apt-get install python3-libnvinfer, for the system's own Python); elsewhere "
            "pip install tensorrt"
        ) from error
    version = tuple(int(part) for part in trt.__version__.split(".")[:2])
    if version < OLDEST:
        raise UserError(f"TensorRT {trt.__version__} is too old: 8.5 (JetPack 5.1) or newer")
    return trt


class Messages:
    """What TensorRT logged.

    Attributes:
        errors: in order.
        warnings: in order, each text once.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def add(self, severity: str, message: str) -> None:
        """Keeps a message of severity ERROR, INTERNAL_ERROR or WARNING; drops the others."""
        if severity in ("ERROR", "INTERNAL_ERROR"):
            self.errors.append(message.strip())
        elif severity == "WARNING" and message.strip() not in self.warnings:
            self.warnings.append(message.strip())

    def text(self) -> str:
        """The errors, one a line; says so if there are none."""
        return "\n".join(self.errors) or "TensorRT gave no reason"


def register_plugins(trt: Any, logger: trt.ILogger) -> None:
    """Makes TensorRT's own plugins known, which its parser uses for some plain ONNX operators.

    TensorRT 8 has InstanceNormalization (group norm is made of it) and RoiAlign as plugins; an
    engine that holds one is loaded only where they are registered. The call may be repeated.
    """
    trt.init_libnvinfer_plugins(logger, "")
    _PLUGIN_LOGGERS.append(logger)


def make_logger(trt: Any, messages: Messages) -> Any:
    """A logger for TensorRT's objects, which must outlive them, that fills ``messages``."""

    class Logger(trt.ILogger):  # made here because trt is imported late
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            messages.add(severity.name, msg)

    return Logger()
