"""The one contract that parity, accuracy after export and latency are written against.

Imported on the vehicle too: Python 3.8, NumPy 1.17 (JetPack 5.1's) and the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping, Protocol, Sequence  # noqa: UP035  (Python 3.8)

import numpy as np

from kd3d.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    Array = NDArray[Any]  # Any: the type is the model's
else:
    Array = np.ndarray  # NumPy 1.17 has no numpy.typing
Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and type of one input.

    Attributes:
        name: as the model calls it.
        shape: one entry a dimension; None where any size is taken.
        dtype: as NumPy writes it, "float32".
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Backend(Protocol):
    """Runs one model: ``with backend: outputs = backend.infer(feeds)``.

    What it holds (a session, device memory) lives from ``__enter__`` to ``__exit__``.

    Attributes:
        name: "pytorch", "onnxruntime" or "tensorrt".
        device: what it runs on, "cpu" or "cuda".
        inputs: what ``infer`` wants.
        output_names: what ``infer`` answers.
    """

    name: str
    device: str
    inputs: tuple[TensorSpec, ...]
    output_names: tuple[str, ...]

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def infer(self, feeds: Feeds) -> dict[str, Array]:
        """Outputs by name for one set of inputs.

        Raises:
            UserError: if ``feeds`` does not fit ``inputs``.
        """
        ...


def check_feeds(inputs: Sequence[TensorSpec], feeds: Feeds) -> None:
    """Raises a UserError that names the first input that does not fit its spec."""
    expected, received = {spec.name for spec in inputs}, set(feeds)
    if expected != received:
        raise UserError(f"expected inputs {sorted(expected)}, got {sorted(received)}")
    for spec in inputs:
        array = feeds[spec.name]
        fits = len(array.shape) == len(spec.shape) and all(
            size is None or size == got
            for size, got in zip(spec.shape, array.shape)  # noqa: B905
        )
        if not fits or str(array.dtype) != spec.dtype:
            raise UserError(
                f"input '{spec.name}': expected {spec.dtype} {_shape_text(spec.shape)}, "
                f"got {array.dtype} {_shape_text(array.shape)}"
            )


def _shape_text(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
