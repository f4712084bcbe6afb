"""What the axes of a tap are, by the layers that made it."""

import pytest
import torch
from torch import nn

from kd3d.distill.pair_config import pair_from_config
from kd3d.distill.recorder import Tap
from kd3d.distill.tapped_axes import check_axes
from kd3d.errors import UserError


def check(module, student, teacher):
    """Of a pair with the automatic connector of two shapes, of two frames."""
    taps = {"student": "part", "teacher": "part"}
    pair = pair_from_config({"name": "p", **taps, "loss": {"type": "FeatureL2"}})
    value, other = torch.zeros(student), torch.zeros(teacher)
    pair.build_connectors("auto", value, other, torch.device("cpu"))
    check_axes(pair, Tap.parse("part"), value, module, 2)


POINTS = nn.Sequential(nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16), nn.Conv2d(16, 8, 1))


@pytest.mark.parametrize(
    ("channels", "points"),
    [(8, 40), (24, 40), (8, 16)],  # of its last layer, of several joined, as many as channels
)
def test_a_linear_layer_over_points_is_refused(channels, points):
    with pytest.raises(UserError, match=r"\(B, C, N\) of N points, which Linear.*num_points of"):
        check(POINTS, (2, channels, points), (2, channels, 64))


@pytest.mark.parametrize(
    "module",
    [
        POINTS,  # DGCNN's give points first and channels last
        nn.Sequential(nn.Conv2d(3, 4, 16), nn.LayerNorm(4), nn.Linear(4, 32)),  # patches
        nn.Identity(),
    ],
)
def test_a_linear_layer_over_channels_passes(module):
    check(module, (2, 40, 8), (2, 40, 64))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_layers_are_no_images_however_many(layers):
    decoder = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    with pytest.raises(UserError, match="layers first, which Resize"):
        check(decoder, (layers, 2, 40, 8), (layers, 2, 60, 8))


def test_a_map_of_as_many_channels_as_images_passes():
    check(nn.Conv2d(8, 2, 1), (2, 2, 40, 8), (2, 3, 40, 8))
