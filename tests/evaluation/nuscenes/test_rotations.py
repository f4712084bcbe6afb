"""Rotations of many boxes against pyquaternion and the devkit, one after the other."""

import math

import numpy as np
import pytest
from nuscenes.eval.common.utils import angle_diff, quaternion_yaw
from pyquaternion import Quaternion

from kd3d.evaluation.nuscenes.rotations import (
    angle_differences_rad,
    dots,
    lengths,
    rotation_matrices,
    yaws_rad,
)

ROOT = math.sqrt(0.5)


def quaternions() -> np.ndarray:
    """Turns about z, any others, and those where zeros have signs; of unit length or not."""
    random = np.random.default_rng(0)
    half = random.uniform(-7, 7, 300)
    turns = np.stack([np.cos(half), 0 * half, 0 * half, np.sin(half)], axis=1)
    parts = (0.0, -0.0, 1.0, -1.0, 0.5, ROOT)
    special = np.array(np.meshgrid(parts, (0.0, -0.0, 0.5), (0.0, -0.0), parts)).reshape(4, -1).T
    return np.concatenate([turns, random.normal(size=(300, 4)), special])


def test_matrices_and_yaws_are_those_of_pyquaternion():
    rotation = quaternions()
    matrices = rotation_matrices(rotation)
    yaws = yaws_rad(rotation)
    assert len(rotation) == 600 + 6 * 3 * 2 * 6
    for q, matrix, yaw in zip(rotation, matrices, yaws, strict=True):
        np.testing.assert_array_equal(matrix, Quaternion(q).rotation_matrix)
        expected = quaternion_yaw(Quaternion(q))
        assert (yaw, np.signbit(yaw)) == (expected, np.signbit(expected))


@pytest.mark.parametrize("period", [math.pi, 2 * math.pi])
def test_angle_differences(period):
    yaws = yaws_rad(quaternions())
    other = np.roll(yaws, 7)
    found = angle_differences_rad(yaws, other, period)
    expected = [abs(angle_diff(a, b, period)) for a, b in zip(yaws, other, strict=True)]
    assert found.tolist() == expected
    # 3 and -3 rad are 6 apart: a full turn less, or a multiple of a half turn less
    near = angle_differences_rad(np.array([3.0]), np.array([-3.0]), period)
    assert near[0] == pytest.approx(2 * math.pi - 6)


def test_dots_and_lengths():
    assert dots(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])).tolist() == [1 * 3 + 2 * 4]
    assert lengths(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [5.0, 0.0]
    random = np.random.default_rng(1).normal(size=(500, 2))
    assert lengths(random).tolist() == [np.linalg.norm(row) for row in random]
