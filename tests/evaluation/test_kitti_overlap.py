"""Overlaps of turned boxes against polygons cut by shapely."""

import importlib
import sys

import numpy as np
import pytest
import torch
from shapely.geometry import Polygon

from kd3d.evaluation.kitti_overlap import KERNEL, overlaps_without_cuda, turned_overlaps


def polygon(box):
    """KITTI: the length points along (cos yaw, -sin yaw) in x and z."""
    x, z, length, width, yaw = box
    along = np.array([np.cos(yaw), -np.sin(yaw)]) * length / 2
    across = np.array([np.sin(yaw), np.cos(yaw)]) * width / 2
    signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
    return Polygon([np.array([x, z]) + a * along + b * across for a, b in signs])


def random_boxes(count, seed):
    rng = np.random.default_rng(seed)
    places, sizes = rng.uniform(-4, 4, (count, 2)), rng.uniform(0.5, 5, (count, 2))
    return np.column_stack([places, sizes, rng.uniform(-4, 4, count)])


def test_overlaps_are_those_of_the_polygons():
    boxes = random_boxes(30, 0)
    others = np.concatenate([boxes[:5], random_boxes(20, 1)])  # some are the same
    shared = [[polygon(one).intersection(polygon(two)).area for two in others] for one in boxes]
    areas = boxes[:, 2:4].prod(1)[:, None] + others[:, 2:4].prod(1)
    assert np.count_nonzero(np.array(shared) > 0.01) > 100
    np.testing.assert_allclose(turned_overlaps(boxes, others, 2), shared, atol=1e-4)
    np.testing.assert_allclose(turned_overlaps(boxes, others), shared / (areas - shared), atol=1e-5)


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
