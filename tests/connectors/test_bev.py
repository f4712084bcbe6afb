"""A place in metres stays that place, whatever the two grids are."""

import pytest
import torch

from kd3d.bev_grid import BevGrid
from kd3d.connectors import BevAlign

STUDENT = BevGrid(-51.2, -51.2, 51.2, 51.2, rows=128, columns=128)  # 0.8 m
PLACES_M = [(-20.3, 11.7), (0.0, 0.0), (30.1, -20.9)]
GRIDS = {
    "same": STUDENT,
    "stride": BevGrid(-51.2, -51.2, 51.2, 51.2, rows=256, columns=256),
    "coarser": BevGrid(-51.2, -51.2, 51.2, 51.2, rows=64, columns=64),
    "range": BevGrid(-54.0, -54.0, 54.0, 54.0, rows=180, columns=180),
    "cell": BevGrid(-49.6, -49.6, 49.6, 49.6, rows=155, columns=124),
    "not square": BevGrid(-40.0, -30.0, 60.0, 35.0, rows=65, columns=200),
}


def painted(grid, place_m, sigma_m=2.0):
    """A soft blob at a place, drawn on the grid by metres: (1, 1, rows, columns)."""
    x_m, y_m = grid.centers()
    square = (x_m[None, :] - place_m[0]) ** 2 + (y_m[:, None] - place_m[1]) ** 2
    return torch.exp(-square / (2 * sigma_m**2))[None, None]


def centre_of_mass_m(value, grid):
    x_m, y_m = grid.centers()
    total = value.sum()
    return ((value * x_m).sum() / total).item(), ((value * y_m[:, None]).sum() / total).item()


@pytest.mark.parametrize("place_m", PLACES_M, ids=str)
@pytest.mark.parametrize("name", GRIDS)
def test_feature_painted_at_a_place_lands_there(name, place_m):
    teacher_grid = GRIDS[name]
    student = painted(STUDENT, place_m)
    teacher = painted(teacher_grid, place_m)
    aligned = BevAlign(1, 1)(student, teacher, student_grid=STUDENT, teacher_grid=teacher_grid)
    assert aligned.shape == teacher.shape
    assert centre_of_mass_m(aligned, teacher_grid) == pytest.approx(place_m, abs=0.02)
    assert (aligned - teacher).abs().max() < 0.1  # smoothed by cells of up to 1.6 m, not moved


@pytest.mark.parametrize("name", GRIDS)
def test_and_back(name):
    place_m = PLACES_M[0]
    grid = GRIDS[name]
    aligned = BevAlign(1, 1)(
        painted(grid, place_m),
        torch.empty(1, 1, 128, 128),
        student_grid=grid,
        teacher_grid=STUDENT,
    )
    assert centre_of_mass_m(aligned, STUDENT) == pytest.approx(place_m, abs=0.02)


def test_a_single_fine_cell_is_not_skipped_by_coarse_cells():
    """At 0.8 m to 3.2 m a cell keeps a sixteenth of the value, wherever within it stood."""
    coarse = BevGrid(-51.2, -51.2, 51.2, 51.2, rows=32, columns=32)
    for row in range(40, 44):
        student = torch.zeros(1, 1, 128, 128)
        student[0, 0, row, 81] = 1.0
        aligned = BevAlign(1, 1)(
            student, torch.empty(1, 1, 32, 32), student_grid=STUDENT, teacher_grid=coarse
        )
        assert aligned[0, 0, 10, 20].item() == pytest.approx(1 / 16)
        assert aligned.sum().item() == pytest.approx(1 / 16)


def test_channels_are_projected_only_where_they_differ():
    teacher_grid = GRIDS["coarser"]
    assert not list(BevAlign(8, 8).parameters())
    connector = BevAlign(8, 16)
    student = torch.randn(2, 8, 128, 128, requires_grad=True)
    aligned = connector(
        student, torch.empty(2, 16, 64, 64), student_grid=STUDENT, teacher_grid=teacher_grid
    )
    expected = torch.nn.functional.avg_pool2d(connector.channels.projection(student), 2)
    torch.testing.assert_close(aligned, expected)
    aligned.sum().backward()
    assert student.grad.abs().sum() > 0


def test_inside_is_where_the_students_range_reaches():
    small = BevGrid(-2.0, -1.0, 2.0, 1.0, rows=2, columns=4)
    large = BevGrid(-4.0, -4.0, 4.0, 4.0, rows=4, columns=4)  # centres -3, -1, 1, 3
    assert BevAlign.inside(small, large)[0, 0].tolist() == [
        [0, 0, 0, 0],
        [0, 1, 1, 0],  # y = -1 is the lower edge and belongs to the range
        [0, 0, 0, 0],  # y = 1 is the upper edge and does not
        [0, 0, 0, 0],
    ]
    assert BevAlign.inside(large, small).all()
