"""Features at the points of boxes, by hand and between two grids."""

import pytest
import torch

from kd3d.bev_grid import BevGrid
from kd3d.errors import UserError
from kd3d.losses import BoxPoints, box_point_distance

GRID = BevGrid(-8.0, -8.0, 8.0, 8.0, rows=16, columns=16)
OTHER = BevGrid(-10.0, -9.0, 11.0, 9.0, rows=36, columns=70)  # cells of 0.3 m x 0.5 m
BOX = torch.tensor([[1.0, -2.0, 0.0, 4.0, 2.0, 1.5, 0.5, 0.0, 0.0]])
NONE = torch.zeros(0, 9)


def plane(grid, slope_x, slope_y, offset=0.0):
    """(1, 2, H, W): a function linear in metres, and its double."""
    x_m, y_m = grid.centers()
    value = slope_x * x_m[None, :] + slope_y * y_m[:, None] + offset
    return torch.stack([value, 2 * value])[None]


def test_maps_that_agree_in_metres_agree_on_any_grids():
    student, teacher = plane(GRID, 0.3, -0.7, 1.0), plane(OTHER, 0.3, -0.7, 1.0)
    assert box_point_distance(student, teacher, [BOX], GRID, OTHER).item() < 1e-4


def test_constant_difference_by_hand():
    student, teacher = plane(GRID, 0.3, -0.7, 1.0), plane(OTHER, 0.3, -0.7, 3.0)
    received = box_point_distance(student, teacher, [BOX], GRID, OTHER, relation_weight=0.0)
    assert received.item() == pytest.approx((2 + 4) / 2, rel=1e-4)


def test_relation_by_hand():
    """Student: all points alike. Teacher: the front half looks the other way."""
    box = torch.tensor([[0.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0, 0.0, 0.0]])
    student = torch.ones(1, 1, 16, 16)
    teacher = torch.ones(1, 1, 16, 16)
    teacher[..., 9:] = -1.0  # from x = 1 m on: three of nine points, at x = 2 m
    received = box_point_distance(student, teacher, [box], GRID, GRID)
    apart, related = 3 / 9 * 2, 2 * (3 * 6) / 81 * 2  # ordered pairs of unlike points, 1 - (-1)
    assert received.item() == pytest.approx(apart + related, rel=1e-4)


def test_points_outside_of_either_grid_have_no_say():
    """A box 4 m long at x = 8 m: its front points leave the student's grid, the teacher's not."""
    box = torch.tensor([[7.5, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0, 0.0, 0.0]])
    student, teacher = plane(GRID, 1.0, 0.0), plane(OTHER, 1.0, 0.0)
    inner = student.clone()
    inner[..., 8:] += 1.0
    received = box_point_distance(inner, teacher, [box], GRID, OTHER, relation_weight=0.0)
    assert received.item() == pytest.approx(1.0, rel=1e-3)


def test_frames_without_boxes_count_as_zero():
    student = torch.randn(2, 2, 16, 16, requires_grad=True)
    teacher = torch.randn(2, 2, 16, 16)
    both = box_point_distance(student, teacher, [BOX, NONE], GRID, GRID)
    alone = box_point_distance(student[:1], teacher[:1], [BOX], GRID, GRID)
    torch.testing.assert_close(both, alone / 2)
    nothing = box_point_distance(student, teacher, [NONE, NONE], GRID, GRID)
    nothing.backward()
    assert nothing.item() == 0
    assert (student.grad == 0).all()


def test_images_are_refused():
    with pytest.raises(UserError, match="BoxPoints reads BEV maps by metres"):
        BoxPoints()(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), boxes=[NONE],
                    student_grid=None, teacher_grid=GRID)  # fmt: skip
