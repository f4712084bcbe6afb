"""Metres and cells of a BEV map, worked out by hand."""

import pytest
import torch
import torch.nn.functional as F

from kd3d.bev_grid import BevGrid
from kd3d.errors import UserError

# 8 m along x in 4 columns of 2 m, 3 m along y in 6 rows of 0.5 m.
GRID = BevGrid.over([-2.0, 10.0, -5.0, 6.0, 13.0, 3.0], (1, 64, 6, 4))


def test_range_and_shape_give_the_cells():
    assert BevGrid(-2.0, 10.0, 6.0, 13.0, rows=6, columns=4) == GRID
    assert (GRID.cell_x_m, GRID.cell_y_m) == (2.0, 0.5)
    x_m, y_m = GRID.centers()
    assert x_m.tolist() == [-1.0, 1.0, 3.0, 5.0]
    assert y_m.tolist() == [10.25, 10.75, 11.25, 11.75, 12.25, 12.75]


def test_positions_in_cells():
    xy_m = torch.tensor([[-2.0, 10.0], [1.0, 11.25], [6.0, 13.0], [-3.0, 9.5]])
    expected = [[0.0, 0.0], [2.5, 1.5], [6.0, 4.0], [-1.0, -0.5]]  # row, column
    assert GRID.cell_of(xy_m).tolist() == expected
    assert GRID.contains(xy_m).tolist() == [True, True, False, False]


def test_sampling_points_meet_the_cells_they_name():
    value = torch.arange(24.0).view(1, 1, 6, 4)
    x_m, y_m = GRID.centers()
    xy_m = torch.stack(torch.meshgrid(x_m, y_m, indexing="xy"), dim=-1)  # (rows, columns, 2)
    sampled = F.grid_sample(value, GRID.sampling_points(xy_m)[None], align_corners=False)
    torch.testing.assert_close(sampled, value)
    assert GRID.sampling_points(torch.tensor([6.0, 10.0])).tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    "values", [(0, 0, 0, 1, 2, 2), (0, 1, 1, 1, 2, 2), (0, 0, 1, 1, 0, 2), (0, 0, 1, 1, 2, 0)]
)
def test_grid_without_cells_or_extent_is_refused(values):
    with pytest.raises(UserError, match="cells and an extent in metres"):
        BevGrid(*values)
