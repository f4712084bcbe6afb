"""Which part of the world a model's BEV maps cover."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from kd3d.bev_grid import BevGrid
from kd3d.distill.recorder import tensors_in

_SAME_EDGE = 1e-3  # of a voxel
Extent = Sequence[float]  # x_min y_min z_min x_max y_max z_max in metres


def point_cloud_range(model: nn.Module) -> Extent | None:
    """x_min y_min z_min x_max y_max z_max in metres that a model sees; None of an image model."""
    layer = _voxel_layer(model)
    if layer is None:
        return None
    return tuple(float(value) for value in layer.point_cloud_range)


def map_extent(model: nn.Module) -> Extent | None:
    """What a model's BEV maps cover; None of an image model.

    That is its range, but where voxels do not divide it: mmdet3d rounds their number, and its maps
    end where the last voxel does.
    """
    extent = point_cloud_range(model)
    if extent is None:
        return None
    sizes = [float(size) for size in getattr(_voxel_layer(model), "voxel_size", ())] or [0.0] * 3
    lower, upper = extent[:3], extent[3:]
    ends = [_last_edge(*axis) for axis in zip(lower, upper, sizes, strict=True)]
    return (*lower, *ends)


def _voxel_layer(model: nn.Module) -> Any:  # Any: of an untyped library
    return getattr(getattr(model, "data_preprocessor", None), "voxel_layer", None)


def _last_edge(lower: float, upper: float, size: float) -> float:
    """Of the last voxel; ``upper`` itself where they divide the range but for rounding."""
    if size <= 0:
        return upper
    edge = lower + round((upper - lower) / size) * size
    return upper if abs(edge - upper) < _SAME_EDGE * size else edge


def grid_of(value: Any, extent: Extent | None) -> BevGrid | None:
    """The grid of a tapped map; None for an image model, or where nothing is a map.

    Args:
        value: what a tap read; its first (B, C, rows, columns) tensor counts.
        extent: as :func:`map_extent` gives it.
    """
    if extent is None:
        return None
    for tensor in tensors_in(value):
        if tensor.ndim == 4:
            return BevGrid.over(extent, tensor.shape)
    return None
