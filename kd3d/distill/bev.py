"""Which part of the world a model's BEV maps cover."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from kd3d.bev_grid import BevGrid
from kd3d.distill.recorder import tensors_in

Extent = Sequence[float]  # x_min y_min z_min x_max y_max z_max in metres


def point_cloud_range(model: nn.Module) -> Extent | None:
    """x_min y_min z_min x_max y_max z_max in metres that a model sees; None of an image model."""
    layer: Any = getattr(getattr(model, "data_preprocessor", None), "voxel_layer", None)
    if layer is None:
        return None
    return tuple(float(value) for value in layer.point_cloud_range)


def grid_of(value: Any, extent: Extent | None) -> BevGrid | None:
    """The grid of a tapped map; None for an image model, or where nothing is a map.

    Args:
        value: what a tap read; its first (B, C, rows, columns) tensor counts.
        extent: as :func:`point_cloud_range` gives it.
    """
    if extent is None:
        return None
    for tensor in tensors_in(value):
        if tensor.ndim == 4:
            return BevGrid.over(extent, tensor.shape)
    return None
