"""What a teacher's taps read of one frame, as bytes and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd3d.errors import UserError

Skeleton = Any  # nested lists and dicts with a tensor's number in its place, or None
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Layout:
    """Shapes and types of an entry's tensors, in the order of the skeleton's numbers.

    Attributes:
        shapes: without the axis of frames.
        types: of the recorded tensors, as in ``torch.float32``; floats are stored smaller.
    """

    shapes: tuple[tuple[int, ...], ...]
    types: tuple[str, ...]


def flattened(value: Any, tensors: list[Tensor]) -> Skeleton:  # Any: what taps read
    """Collects the tensors of a nesting into ``tensors``; returns the nesting without them.

    Raises:
        UserError: it holds something that is neither a tensor nor a container of tensors.
    """
    if isinstance(value, Tensor):
        tensors.append(value)
        return len(tensors) - 1
    if isinstance(value, dict):
        return {str(key): flattened(item, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [flattened(item, tensors) for item in value]
    if value is None:
        return None
    raise UserError(
        f"teacher cache: a tap reads {type(value).__name__}, which cannot be kept; tap tensors, "
        "or leave cache out of the teacher"
    )


def filled(skeleton: Skeleton, tensors: Sequence[Tensor]) -> Any:
    """The opposite of :func:`flattened`; tuples have become lists."""
    if isinstance(skeleton, dict):
        return {key: filled(item, tensors) for key, item in skeleton.items()}
    if isinstance(skeleton, list):
        return [filled(item, tensors) for item in skeleton]
    return None if skeleton is None else tensors[skeleton]


def to_bytes(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[bytes, Layout]:
    """One frame's tensors, floats rounded to ``dtype``.

    Raises:
        UserError: a value that was finite is too large for ``dtype``.
    """
    parts = []
    for tensor in tensors:
        kept = tensor.detach()
        if kept.is_floating_point():
            rounded = kept.to(dtype)
            if not torch.equal(rounded.isfinite(), kept.isfinite()):
                raise UserError(
                    f"teacher cache: a value of {float(kept.abs().max()):.3g} is beyond {dtype}; "
                    "set dtype='bfloat16' in cache"
                )
            kept = rounded
        parts.append(kept.contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    layout = Layout(
        tuple(tuple(tensor.shape) for tensor in tensors),
        tuple(str(tensor.dtype) for tensor in tensors),
    )
    return b"".join(parts), layout


def from_bytes(data: Any, layout: Layout, dtype: torch.dtype) -> list[Tensor]:
    """The opposite of :func:`to_bytes`, in the recorded types.

    Args:
        data: a buffer of the entry's bytes; it is copied.
        layout: of the entry.
        dtype: that floats were rounded to.
    """
    everything = torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())
    tensors, start = [], 0
    for shape, name in zip(layout.shapes, layout.types, strict=True):
        own: torch.dtype = getattr(torch, name.removeprefix("torch."))
        stored = dtype if own.is_floating_point else own
        size = int(np.prod(shape, dtype=np.int64)) * stored.itemsize
        # a view as another type wants an aligned start, which a clone of a part has
        part = everything[start : start + size].clone().view(stored)
        tensors.append(part.reshape(shape).to(own))
        start += size
    return tensors
