"""Boxes seen from above, against points turned by hand."""

import math

import pytest
import torch

from kd3d.bev_boxes import box_points, inside_boxes


def box(x, y, dx, dy, yaw):
    return torch.tensor([[x, y, 0.0, dx, dy, 1.5, yaw, 0.0, 0.0]])


def test_nine_points_without_a_turn():
    points = box_points(box(10.0, 20.0, 4.0, 2.0, 0.0))
    expected = {
        (12.0, 21.0), (12.0, 19.0), (8.0, 19.0), (8.0, 21.0),
        (12.0, 20.0), (10.0, 19.0), (8.0, 20.0), (10.0, 21.0), (10.0, 20.0),
    }  # fmt: skip
    assert points.shape == (1, 9, 2)
    assert {tuple(point) for point in points[0].tolist()} == expected


def test_yaw_turns_from_x_to_y():
    points = box_points(box(0.0, 0.0, 4.0, 2.0, math.pi / 2))[0]
    front = points[4]  # middle of the front edge, 2 m along x before the turn
    assert front.tolist() == pytest.approx([0.0, 2.0], abs=1e-6)


def test_points_on_a_shrunken_outline_are_inside_and_on_a_grown_one_are_not():
    boxes = torch.cat([box(1.0, 2.0, 4.0, 2.0, 0.7), box(-9.0, 3.0, 1.0, 6.0, -2.5)])
    points = box_points(boxes)
    centre = boxes[:, None, :2]
    for n in range(2):
        near = (centre + (points - centre) * 0.99)[n]
        far = (centre + (points - centre) * 1.01)[n, :8]
        assert inside_boxes(near, boxes)[n].all()
        assert not inside_boxes(far, boxes).any()


def test_no_boxes_hold_nothing():
    assert inside_boxes(torch.zeros(5, 2), torch.zeros(0, 9)).shape == (0, 5)
    assert box_points(torch.zeros(0, 9)).shape == (0, 9, 2)
