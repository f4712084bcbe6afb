"""Affinities by hand, and which positions are compared."""

import pytest
import torch

from kd3d.bev_grid import BevGrid
from kd3d.errors import UserError
from kd3d.losses import Affinity, affinity_distance
from kd3d.losses.affinity import heaviest_cells, spread_cells

GRID = BevGrid(-8.0, -8.0, 8.0, 8.0, rows=16, columns=16)
FINE = BevGrid(-8.0, -8.0, 8.0, 8.0, rows=32, columns=32)
WIDE = BevGrid(-16.0, -16.0, 16.0, 16.0, rows=32, columns=32)


def test_two_positions_by_hand():
    """Student: alike. Teacher: at right angles. Of four pairs two differ, by 1."""
    student = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    teacher = torch.tensor([[[3.0, 0.0], [0.0, 5.0], [0.0, 0.0]]])
    valid = torch.ones(1, 2, dtype=torch.bool)
    assert affinity_distance(student, teacher, valid).item() == pytest.approx(2 / 4)
    assert affinity_distance(student, teacher, torch.tensor([[True, False]])).item() == 0
    assert affinity_distance(student, teacher, torch.zeros(1, 2)).item() == 0


def test_channels_turned_or_scaled_make_no_difference():
    torch.manual_seed(0)
    teacher = torch.randn(2, 8, 16, 16)
    turn = torch.linalg.qr(torch.randn(8, 8)).Q
    student = 3 * torch.einsum("dc,bchw->bdhw", turn, teacher)
    assert Affinity()(student, teacher).item() == pytest.approx(0, abs=1e-10)
    assert Affinity()(torch.randn(2, 4, 16, 16), teacher).item() > 0.01


def test_positions_are_bounded_and_spread():
    places = spread_cells(7, 10, 12)  # every third row and column: 3 x 4
    assert places.tolist() == [10 * row + column for row in (0, 3, 6) for column in (0, 3, 6, 9)]
    assert spread_cells(3, 4, 99).tolist() == list(range(12))
    assert len(spread_cells(128, 128, 256)) <= 256


def test_heaviest_cells_leave_out_those_of_no_weight():
    mask = torch.zeros(1, 1, 2, 3)
    mask[0, 0, 1, 2], mask[0, 0, 0, 1] = 0.5, 0.9
    places, valid = heaviest_cells(mask, 3)
    assert places[0, :2].tolist() == [1, 5]
    assert valid[0].tolist() == [True, True, False]


def test_cells_are_read_by_metres():
    """A linear map on cells of half the size has the same values at the teacher's centres."""
    x_m, y_m = GRID.centers()
    teacher = torch.stack([x_m.expand(16, 16), y_m[:, None].expand(16, 16), torch.ones(16, 16)])
    x_m, y_m = FINE.centers()
    student = torch.stack([x_m.expand(32, 32), y_m[:, None].expand(32, 32), torch.ones(32, 32)])
    received = Affinity()(student[None], teacher[None], student_grid=FINE, teacher_grid=GRID)
    assert received.item() == pytest.approx(0, abs=1e-8)


def test_cells_outside_of_the_students_range_have_no_say():
    torch.manual_seed(0)
    teacher = torch.randn(1, 4, 32, 32)
    student = teacher[..., 8:24, 8:24]
    received = Affinity(positions=2000)(student, teacher, student_grid=GRID, teacher_grid=WIDE)
    assert received.item() == pytest.approx(0, abs=1e-10)


def test_boxes_are_compared_by_the_mean_of_their_points():
    """A map that is constant over each box; the third box lies outside."""
    boxes = torch.zeros(3, 9)
    boxes[:, 0] = torch.tensor([-4.0, 4.0, 99.0])
    boxes[:, 3:6] = 2.0
    student, teacher = torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 16, 16)
    student[0, 0] = 1.0  # both boxes alike
    teacher[0, 0, :, :8], teacher[0, 1, :, 8:] = 1.0, 1.0  # at right angles
    loss = Affinity(between="boxes")
    grids = {"student_grid": GRID, "teacher_grid": GRID}
    assert loss(student, teacher, boxes=[boxes], **grids).item() == pytest.approx(2 / 4)
    assert Affinity(between="boxes", positions=2)(
        student, teacher, boxes=[boxes.flip(0)], **grids
    ).item() == pytest.approx(0)  # of the first two one lies outside
    assert loss(student, teacher, boxes=[torch.zeros(0, 9)], **grids).item() == 0


def test_what_cannot_be_read_is_refused():
    one, other = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 8, 8)
    with pytest.raises(UserError, match="add a Resize connector"):
        Affinity()(one, other)
    with pytest.raises(UserError, match="Affinity between boxes needs labels"):
        Affinity(between="boxes")(one, one)
    with pytest.raises(UserError, match='between="cells" or "boxes" and at least 2 positions'):
        Affinity(between="rows")
