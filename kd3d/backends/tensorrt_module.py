"""TensorRT's Python module, imported when it is needed, and what it says.

Python 3.8 and the standard library only, until ``tensorrt_module`` is called.
"""

from __future__ import annotations

import weakref
from typing import Any

from kd3d.errors import UserError

# By module (tests have several). TensorRT keeps the address of the first logger that it is given
# for all that is made while any builder or runtime lives; the plugins' library keeps it for ever.
_LOGGERS: dict[Any, Any] = {}
_LISTENERS: weakref.WeakSet[Messages] = weakref.WeakSet()
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
    """What TensorRT has logged since this was made, whichever object it spoke of.

    Attributes:
        errors: in order.
        warnings: in order, each text once.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        _LISTENERS.add(self)

    def add(self, severity: str, message: str) -> None:
        """Keeps a message of severity ERROR, INTERNAL_ERROR or WARNING; drops the others."""
        if severity in ("ERROR", "INTERNAL_ERROR"):
            self.errors.append(message.strip())
        elif severity == "WARNING" and message.strip() not in self.warnings:
            self.warnings.append(message.strip())

    def text(self) -> str:
        """The errors, one a line; says so if there are none."""
        return "\n".join(self.errors) or "TensorRT gave no reason"


def register_plugins(trt: Any) -> None:
    """Makes TensorRT's own plugins known, which its parser uses for some plain ONNX operators.

    TensorRT 8 has InstanceNormalization (group norm is made of it) and RoiAlign as plugins; an
    engine that holds one is loaded only where they are registered. The call may be repeated.
    """
    trt.init_libnvinfer_plugins(logger_of(trt), "")


def logger_of(trt: Any) -> Any:
    """The one logger of this process for TensorRT's objects; it fills all ``Messages``."""
    if trt not in _LOGGERS:

        class Logger(trt.ILogger):  # made here because trt is imported late
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                for messages in list(_LISTENERS):
                    messages.add(severity.name, msg)

        _LOGGERS[trt] = Logger()
    return _LOGGERS[trt]
