"""Where in metres the cells of a bird's eye view (BEV) map lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kd3d.errors import UserError


@dataclass(frozen=True)
class BevGrid:
    """A BEV feature map in metres of the LiDAR frame: rows along y, columns along x.

    As mmdet3d lays it out: (B, C, H, W) with H along y and W along x, both growing with the metres.
    Positions are also given in cells from the lower edge: cell ``i`` covers ``[i, i + 1)`` and has
    its centre at ``i + 0.5``, so the floor of a position is the cell that holds it.

    Attributes:
        x_min_m: lower edge of column 0.
        y_min_m: lower edge of row 0.
        x_max_m: upper edge of the last column.
        y_max_m: upper edge of the last row.
        rows: H.
        columns: W.

    Raises:
        UserError: if it has no cells or no extent.
    """

    x_min_m: float
    y_min_m: float
    x_max_m: float
    y_max_m: float
    rows: int
    columns: int

    def __post_init__(self) -> None:
        extent = self.x_max_m > self.x_min_m and self.y_max_m > self.y_min_m
        if not extent or self.rows < 1 or self.columns < 1:
            raise UserError(
                f"expected a BEV grid with cells and an extent in metres, got {self}; "
                "check point_cloud_range of the model and that the tap reads a BEV map"
            )

    @classmethod
    def over(cls, point_cloud_range: Sequence[float], shape: Sequence[int]) -> "BevGrid":
        """The grid of a map that covers its model's whole range, whatever its stride.

        Args:
            point_cloud_range: x_min y_min z_min x_max y_max z_max, in metres.
            shape: (..., rows, columns) of the map.
        """
        x_min, y_min, _, x_max, y_max, _ = (float(value) for value in point_cloud_range)
        return cls(x_min, y_min, x_max, y_max, int(shape[-2]), int(shape[-1]))

    @property
    def cell_x_m(self) -> float:
        """Size of a cell along x."""
        return (self.x_max_m - self.x_min_m) / self.columns

    @property
    def cell_y_m(self) -> float:
        """Size of a cell along y."""
        return (self.y_max_m - self.y_min_m) / self.rows

    def centers(self, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Centres of the cells in metres: x (columns,) and y (rows,)."""
        columns = torch.arange(self.columns, dtype=torch.float32, device=device)
        rows = torch.arange(self.rows, dtype=torch.float32, device=device)
        x_m = self.x_min_m + (columns + 0.5) * self.cell_x_m
        y_m = self.y_min_m + (rows + 0.5) * self.cell_y_m
        return x_m, y_m

    def cell_of(self, xy_m: Tensor) -> Tensor:
        """Positions in cells; their floor is the cell's index, also outside of the grid.

        Args:
            xy_m: (..., 2) x and y in metres.

        Returns:
            (..., 2) row and column, not rounded.
        """
        x_m, y_m = xy_m[..., 0], xy_m[..., 1]
        row = (y_m - self.y_min_m) / self.cell_y_m
        column = (x_m - self.x_min_m) / self.cell_x_m
        return torch.stack([row, column], dim=-1)

    def contains(self, xy_m: Tensor) -> Tensor:
        """Whether the grid covers each position; (..., 2) x and y in metres to (...) bool."""
        row, column = self.cell_of(xy_m).unbind(-1)
        return (row >= 0) & (row < self.rows) & (column >= 0) & (column < self.columns)

    def sampling_points(self, xy_m: Tensor) -> Tensor:
        """Positions as ``F.grid_sample`` with ``align_corners=False`` takes them: edges at -1, 1.

        Args:
            xy_m: (..., 2) x and y in metres.

        Returns:
            (..., 2) along columns and rows.
        """
        row, column = self.cell_of(xy_m).unbind(-1)
        return torch.stack([2 * column / self.columns - 1, 2 * row / self.rows - 1], dim=-1)
