"""Taps whose shapes could be compared or joined, though their axes are not what they seem."""

from typing import Any

from torch import nn

from kd3d.connectors import Linear
from kd3d.distill.pair import Pair
from kd3d.distill.recorder import Tap, describe, tensors_in
from kd3d.errors import UserError


def check_axes(pair: Pair, tap: Tap, value: Any, module: nn.Module, frames: int) -> None:
    """Refuses what is not by image, and connectors over an axis that is none of channels.

    Args:
        pair: with its connectors.
        tap: the student's or the teacher's.
        value: what it read.
        module: that it names.
        frames: how many it read.

    Raises:
        UserError: the rows are regions or decoder layers, or the last axis is of points.
    """
    shapes = [tuple(tensor.shape) for tensor in tensors_in(value)]
    where = f"pair {pair.name!r}: tap {tap.text!r} gives {describe(value)} of {frames} images"
    if "roi_head" in tap.module.split(".") and any(shape[:1] != (frames,) for shape in shapes):
        raise UserError(
            f"{where}, a row for each region of interest; each model draws regions of its own, so "
            "the rows are of different places: tap what is made once for each image, such as "
            "'neck' or 'rpn_head[0]'"
        )
    if not len(pair.connectors):
        return
    widths = _of_convolutions(module)
    stacks = (shape for shape in shapes if len(shape) == 4 and shape[1] == frames)
    if any(shape[0] != frames or not widths for shape in stacks):  # none makes a map (B, C, H, W)
        raise UserError(
            f"{where}, layers first, which {pair.connector_text} takes for maps (B, C, H, W); tap "
            "one layer, such as 'decoder.layers.5'"
        )
    joined = [shape for shape in shapes if len(shape) == 3] if _joins_last_axis(pair) else []
    points = any(shape[1] in widths or shape[2] not in widths for shape in joined)
    if widths and points and not _has_tokens(module):
        raise UserError(
            f"{where}, (B, C, N) of N points, which {pair.connector_text} would join in place of "
            "channels; let student and teacher have as many points and channels (num_points of "
            "pipeline and backbone), or tap maps"
        )


def _joins_last_axis(pair: Pair) -> bool:
    return any(isinstance(connector, Linear) for connector in pair.connectors)


def _of_convolutions(module: nn.Module) -> set[int]:
    """The channels that those within a module give."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return {part.out_channels for part in module.modules() if isinstance(part, kinds)}


def _has_tokens(module: nn.Module) -> bool:
    """Whether something within works on the last axis."""
    return any(isinstance(part, nn.Linear | nn.LayerNorm) for part in module.modules())
