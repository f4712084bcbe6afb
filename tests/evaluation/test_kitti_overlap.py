"""Overlaps of turned boxes, worked out by hand and against mmcv's operator."""

import importlib
import sys

import numpy as np
import pytest
import torch
from mmcv.ops import box_iou_rotated

from kd3d.evaluation.kitti_overlap import KERNEL, overlaps_without_cuda, turned_overlaps


def random_boxes(count, seed):
    rng = np.random.default_rng(seed)
    places, sizes = rng.uniform(-4, 4, (count, 2)), rng.uniform(0.5, 5, (count, 2))
    return np.column_stack([places, sizes, rng.uniform(-4, 4, count)])


def test_overlaps_are_those_of_mmcv():
    boxes, others = random_boxes(30, 0), random_boxes(20, 1)
    one, two = torch.tensor(boxes).float(), torch.tensor(others).float()
    # mmcv's clockwise=True turns the first axis towards the second
    expected = box_iou_rotated(one, two, clockwise=False).numpy()
    assert np.count_nonzero(expected > 0.01) > 100
    np.testing.assert_allclose(turned_overlaps(boxes, others), expected, atol=1e-5)


def test_a_square_turned_by_an_eighth():
    """Two squares of side 2 share a regular octagon of width 2: 8 (sqrt(2) - 1)."""
    squares = np.array([[3, 4, 2, 2, 0], [3, 4, 2, 2, np.pi / 4]])
    octagon = 8 * (np.sqrt(2) - 1)
    expected = [[4, octagon], [octagon, 4]]
    np.testing.assert_allclose(turned_overlaps(squares, squares, 2), expected, rtol=1e-6)
    over_union = octagon / (8 - octagon)
    expected = [[1, over_union], [over_union, 1]]
    np.testing.assert_allclose(turned_overlaps(squares, squares), expected, rtol=1e-6)


@pytest.mark.parametrize("off", [0, 1e-7, -1e-7, 1e-5])
def test_almost_the_same_box(off):
    """Edges that all but coincide, where cutting polygons is least exact."""
    box = np.array([[0, 20, 4, 1.6, 0]])
    np.testing.assert_allclose(turned_overlaps(box, box + off), [[1]], atol=1e-4)


def test_yaw_turns_away_from_z():
    """A long box turned by 45 degrees reaches (1, -1), not (1, 1)."""
    long = np.array([[0, 0, 4, 0.2, np.pi / 4]])
    small = np.array([[1, -1, 0.1, 0.1, 0], [1, 1, 0.1, 0.1, 0]])
    shared = turned_overlaps(long, small, 2)
    np.testing.assert_allclose(shared, [[0.01, 0]], atol=1e-6)


def test_no_boxes():
    assert turned_overlaps(np.zeros((0, 5)), np.ones((3, 5))).shape == (0, 3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="mmdet3d's own kernel runs")
def test_the_stand_in_is_there_only_meanwhile():
    with overlaps_without_cuda():
        assert importlib.import_module(KERNEL).rotate_iou_gpu_eval is turned_overlaps
    assert KERNEL not in sys.modules
