"""Losses compute in float32, whatever the precision around them."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ParamSpec

import torch
from torch import Tensor

from kd3d.heads.prediction import DensePrediction

P = ParamSpec("P")


def in_float32(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Runs ``loss`` on float32 copies of its inputs, with autocast off on their device.

    Sums of squares and exponentials leave the range of float16 and the digits of bfloat16.

    Args:
        loss: its first argument is a tensor or a ``DensePrediction``; numbers pass through.
    """

    @functools.wraps(loss)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        first: Any = [*args, *kwargs.values()][0]  # Any: a ParamSpec hides the types
        device = first.logits.device if isinstance(first, DensePrediction) else first.device
        by_name: Any = {name: _float32(value) for name, value in kwargs.items()}
        by_place: Any = [_float32(value) for value in args]
        with torch.autocast(device_type=device.type, enabled=False):
            return loss(*by_place, **by_name)

    return wrapped


def _float32(value: object) -> object:
    if isinstance(value, Tensor):
        return value.float()
    if isinstance(value, DensePrediction):
        objectness = None if value.objectness is None else value.objectness.float()
        return replace(
            value, logits=value.logits.float(), boxes=value.boxes.float(), objectness=objectness
        )
    return value
