"""Losses compute in float32, whatever the precision around them."""

import functools
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


def in_float32(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Runs ``loss`` on float32 copies of its inputs, with autocast off on their device.

    Sums of squares and exponentials leave the range of float16 and the digits of bfloat16.

    Args:
        loss: its first argument is a tensor or a head's prediction, whose first attribute is one.
            Floating tensors are cast, alone and in predictions; the rest passes.
    """

    @functools.wraps(loss)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        first: Any = [*args, *kwargs.values()][0]  # Any: a ParamSpec hides the types
        tensor = first if isinstance(first, Tensor) else getattr(first, fields(first)[0].name)
        by_name: Any = {name: _float32(value) for name, value in kwargs.items()}
        by_place: Any = [_float32(value) for value in args]
        with torch.autocast(device_type=tensor.device.type, enabled=False):
            return loss(*by_place, **by_name)

    return wrapped


def _float32(value: Any) -> Any:  # Any: whatever a loss takes
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        tensors = {name: part for name, part in parts.items() if isinstance(part, Tensor)}
        return replace(value, **{name: _float32(part) for name, part in tensors.items()})
    return value
