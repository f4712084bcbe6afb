"""Reads BEV maps at positions in metres, and on the grid of another map."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kd3d.bev_grid import BevGrid
from kd3d.errors import UserError

_SAME_CELLS = 1e-4  # cells by which two grids may differ through rounding of their metres


def sample_at(value: Tensor, grid: BevGrid, xy_m: Tensor) -> Tensor:
    """Bilinear values of a map at positions in metres, held constant beyond the outer centres.

    Args:
        value: (B, C, rows, columns).
        grid: where the map lies.
        xy_m: (B, ..., 2) x and y, or (1, ..., 2) for the same positions in every frame.

    Returns:
        (B, C, ...) in float32: coordinates in half precision would be off by cells.

    Raises:
        UserError: if the map is not the grid's.
    """
    expect_on_grid(value, grid)
    points = grid.sampling_points(xy_m.float()).expand(len(value), *xy_m.shape[1:])
    sampled = F.grid_sample(
        value.float(),
        points.reshape(len(value), -1, 1, 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return sampled.reshape(*value.shape[:2], *xy_m.shape[1:-1])


def resample(
    value: Tensor, source: BevGrid, target: BevGrid, *, reduce: Literal["mean", "max"] = "mean"
) -> Tensor:
    """A map brought from its grid to another one, by metres.

    Where cells of the target are larger than those of the source, each is read at as many evenly
    spaced points along an axis as source cells fit into it, rounded up, and their mean is taken:
    the area average, so that nothing between the centres is skipped. At a whole ratio of aligned
    grids these points are the source's centres. Where cells are smaller, the map is interpolated
    between centres. Beyond the source's edge its border is continued; see ``covered``.

    Args:
        value: (B, C, rows, columns) of the source.
        source: the grid of ``value``.
        target: the grid wanted.
        reduce: how the points within a cell are joined: "mean", or "max", which keeps peaks.

    Returns:
        (B, C, rows, columns) of the target, in the type of ``value``; ``value`` itself where the
        grids are the same.
    """
    expect_on_grid(value, source)
    if same_grid(source, target):
        return value
    factors = (
        _points_a_cell(target.cell_y_m / source.cell_y_m),
        _points_a_cell(target.cell_x_m / source.cell_x_m),
    )
    fine = _refined(target, factors)
    if not same_grid(source, fine):
        x_m, y_m = fine.centers(value.device)
        xy_m = torch.stack(torch.meshgrid(x_m, y_m, indexing="xy"), dim=-1)
        sampled = sample_at(value, source, xy_m[None])
    else:
        sampled = value.float()
    if factors != (1, 1):
        pool = F.avg_pool2d if reduce == "mean" else F.max_pool2d
        sampled = pool(sampled, factors)
    return sampled.to(value.dtype)


def covered(source: BevGrid, target: BevGrid, device: torch.device | None = None) -> Tensor:
    """(1, 1, rows, columns) of the target: 1 where the source's range holds the cell's centre."""
    x_m, y_m = target.centers(device)
    xy_m = torch.stack(torch.meshgrid(x_m, y_m, indexing="xy"), dim=-1)
    return source.contains(xy_m).float()[None, None]


def same_grid(one: BevGrid, other: BevGrid) -> bool:
    """Whether two grids have the same cells, but for rounding of their metres."""
    if (one.rows, one.columns) != (other.rows, other.columns):
        return False
    return (
        max(abs(one.x_min_m - other.x_min_m), abs(one.x_max_m - other.x_max_m))
        < _SAME_CELLS * one.cell_x_m
        and max(abs(one.y_min_m - other.y_min_m), abs(one.y_max_m - other.y_max_m))
        < _SAME_CELLS * one.cell_y_m
    )


def expect_on_grid(value: Tensor, grid: BevGrid) -> None:
    """Raises UserError unless the map has the rows and columns of its grid."""
    if value.dim() != 4 or tuple(value.shape[-2:]) != (grid.rows, grid.columns):
        raise UserError(
            f"expected a BEV map (B, C, {grid.rows}, {grid.columns}) on its grid, "
            f"got {tuple(value.shape)}; tap a map that covers the model's point_cloud_range"
        )


def _points_a_cell(ratio: float) -> int:
    """Points along an axis of a target cell that is ``ratio`` source cells long."""
    return max(1, math.ceil(ratio - _SAME_CELLS))


def _refined(grid: BevGrid, factors: tuple[int, int]) -> BevGrid:
    return BevGrid(
        grid.x_min_m,
        grid.y_min_m,
        grid.x_max_m,
        grid.y_max_m,
        rows=grid.rows * factors[0],
        columns=grid.columns * factors[1],
    )
