"""Multiply-adds worked out by hand, of dense layers and of sparse ones by the voxels they join."""

from functools import partial

import pytest
import spconv.pytorch as spconv
import torch
from torch import nn

from kd3d.profiling.costs.multiply_adds import multiply_adds


def test_dense_layers_by_child():
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, groups=1), nn.ReLU()),
        nn.ConvTranspose2d(8, 4, 2, stride=2),
        nn.Linear(10, 5),
    )
    counts = multiply_adds(model, lambda: model(torch.zeros(2, 3, 5, 5)))
    assert counts == {
        "0": 2 * (5 * 5) * 8 * (3 * 3 * 3),  # each output cell reads 3 x 3 cells of 3 channels
        "1": 2 * (5 * 5) * 8 * (4 * 2 * 2),  # each input cell writes 2 x 2 cells of 4 channels
        "2": 2 * (4 * 10) * 10 * 5,  # each row of the map, 4 channels of 10 x 10
    }


def test_groups_read_their_own_channels():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=4))
    counts = multiply_adds(model, lambda: model(torch.zeros(1, 8, 5, 5)))
    assert counts.total() == (5 * 5) * 8 * (2 * 3 * 3)


def voxels():
    """Two neighbours and one alone."""
    places = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 4, 4, 4]], dtype=torch.int32)
    return spconv.SparseConvTensor(torch.ones(3, 4), places, [6, 6, 6], 1)


@pytest.mark.parametrize("key", [None, "shared"])
@pytest.mark.parametrize(
    ("layer", "pairs"),
    [
        (partial(spconv.SubMConv3d, kernel_size=3), 3 + 2),  # themselves, and each other
        (partial(spconv.SubMConv3d, kernel_size=1), 3),
        # cells at 0, 2, 4: the first voxel is in reach of one, the second of two, the third of one
        (partial(spconv.SparseConv3d, kernel_size=3, stride=2, padding=1), 1 + 2 + 1),
    ],
)
def test_sparse_convolutions_by_the_voxels_that_meet(layer, pairs, key):
    model = nn.Sequential(layer(4, 8, indice_key=key))
    with torch.no_grad():
        counts = multiply_adds(model, lambda: model(voxels()))
    assert counts == {"0": pairs * 4 * 8}
    assert model[0].indice_key == key


def test_nothing_is_left_on_the_model():
    model = nn.Sequential(nn.Linear(2, 2))
    multiply_adds(model, lambda: model(torch.zeros(1, 2)))
    assert not model[0]._forward_hooks
