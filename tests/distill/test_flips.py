"""Flips are read as they were made, and reused only where features flip with the input."""

import pytest
import torch
from torch import nn
from toys_cache import RAMP, TAP, Detector, images, sample

from kd3d.distill.flips import Flip, check_equivariance, flip_of, flipped
from kd3d.distill.teacher import Teacher
from kd3d.errors import UserError


@pytest.mark.parametrize(
    ("info", "flip"),
    [
        ({}, Flip()),
        ({"flip": True, "flip_direction": "horizontal"}, Flip(columns=True)),
        ({"flip": True, "flip_direction": "vertical"}, Flip(rows=True)),
        ({"flip": True, "flip_direction": "diagonal"}, Flip(True, True)),
        (
            {"flip": True, "flip_direction": "horizontal", "img_shape": (2, 3)},
            Flip(columns=True, exact=False),  # one column is padding
        ),
    ],
)
def test_flips_of_images(info, flip):
    assert flip_of(sample("a", **info), images(1)) == flip


def test_flips_of_points_are_those_of_mmdet3d():
    """Its horizontal flip mirrors y, which runs along the rows of a BEV map."""
    from mmdet3d.structures import LiDARPoints

    for direction, flip, expected in (
        ("horizontal", Flip(rows=True), [1.0, -2.0, 0.0]),
        ("vertical", Flip(columns=True), [-1.0, 2.0, 0.0]),
    ):
        assert flip_of(sample("a", **{f"pcd_{direction}_flip": True}), {}) == flip
        points = LiDARPoints(torch.tensor([[1.0, 2.0, 0.0]]))
        points.flip(direction)
        assert points.tensor[0].tolist() == expected
    bev = torch.tensor([[[1, 2], [3, 4]]])
    assert flipped(bev, Flip(rows=True)).tolist() == [[[3, 4], [1, 2]]]
    assert flipped(bev, Flip(columns=True)).tolist() == [[[2, 1], [4, 3]]]


def test_equivariance_is_measured():
    """A kernel (0, 2, 1) sees the right neighbour, flipped the left one."""
    batch = {"inputs": RAMP, "data_samples": [sample("a")]}
    mirror = [Flip(columns=True)]
    assert check_equivariance(Teacher(Detector((1.0, 2.0, 1.0)), [TAP]), batch, mirror) == {
        "net": 0.0
    }
    teacher = Teacher(Detector((0.0, 2.0, 1.0)), [TAP])
    rows = [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]
    seen = torch.tensor([[2 * r[i] + (r[i + 1] if i < 3 else 0) for i in range(4)] for r in rows])
    turned = torch.tensor([[2 * r[i] + (r[i - 1] if i > 0 else 0) for i in range(4)] for r in rows])
    expected = float((seen - turned).norm() / seen.norm())
    with pytest.raises(UserError, match=f"differs by {100 * expected:.1f} %"):
        check_equivariance(teacher, batch, mirror)


class Head(nn.Module):
    """A large heatmap that flips with its input, and beside it a small map that does not."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs):
        ramp = torch.tensor([-3.0, -1.0, 1.0, 3.0]).expand_as(inputs)
        return {"heatmap": 1000 * inputs, "rot": self.weight * ramp}


def test_a_small_tensor_that_does_not_flip_is_refused_beside_a_large_one():
    """The ramp's mirror image is its negative: the distance is twice its size."""
    detector = Detector()
    detector.net = Head()
    batch = {"inputs": RAMP, "data_samples": [sample("a")]}
    with pytest.raises(UserError, match=r"'net' of a flipped batch differs by 200\.0 %"):
        check_equivariance(Teacher(detector, [TAP]), batch, [Flip(columns=True)])


def test_features_that_are_not_numbers_are_refused():
    batch = {"inputs": RAMP, "data_samples": [sample("a")]}
    teacher = Teacher(Detector((0.0, float("nan"), 0.0)), [TAP])
    with pytest.raises(UserError, match="differs by inf %"):
        check_equivariance(teacher, batch, [Flip(columns=True)])
