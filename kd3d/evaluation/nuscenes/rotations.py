"""Quaternions to rotation matrices and yaw angles, for many boxes at a time.

The devkit turns one quaternion after the other with pyquaternion. To answer the very same bits,
these functions make the same floating-point operations in the same order: where pyquaternion
multiplies matrices with ``numpy.dot``, they hand the stacked matrices to ``numpy.matmul``, which
calls the same BLAS routine for each.
"""

import math

import numpy as np

from kd3d.evaluation.nuscenes.boxes import Floats

_UNIT_TOLERANCE = 1e-14  # pyquaternion leaves a quaternion alone whose squared norm is this near 1


def dots(left: Floats, right: Floats) -> Floats:
    """(N,) dot products of the rows of two (N, D) arrays, each as BLAS computes it."""
    products: Floats = np.matmul(left[:, None, :], right[:, :, None])
    return products[:, 0, 0]


def lengths(vectors: Floats) -> Floats:
    """(N,) Euclidean norms of the rows of an (N, D) array, as ``numpy.linalg.norm`` of each."""
    return np.sqrt(dots(vectors, vectors))


def rotation_matrices(rotation: Floats) -> Floats:
    """(N, 3, 3) rotation matrices of (N, 4) quaternions w x y z of any length."""
    w, x, y, z = _normalised(rotation).T
    left = np.stack([w, -x, -y, -z, x, w, -z, y, y, z, w, -x, z, -y, x, w], axis=1)
    right = np.stack([w, -x, -y, -z, x, w, z, -y, y, -z, w, x, z, y, -x, w], axis=1)
    transposed = right.reshape(-1, 4, 4).swapaxes(1, 2)
    product: Floats = np.matmul(left.reshape(-1, 4, 4), transposed)
    return product[:, 1:, 1:]


def yaws_rad(rotation: Floats) -> Floats:
    """(N,) angles about z of (N, 4) quaternions, in [-pi, pi]."""
    heading = np.matmul(rotation_matrices(rotation), np.array([1.0, 0.0, 0.0]))
    # numpy's arctan2 has a second loop, which rounds differently, for arrays that might overlap,
    # and takes an output that begins where an input ends for one: so there are gaps between them.
    planes: Floats = np.empty((3, len(heading) + 1))
    x, y, yaw = planes[:, :-1]
    x[:], y[:] = heading[:, 0], heading[:, 1]
    return np.asarray(np.arctan2(y, x, out=yaw))


def angle_differences_rad(first: Floats, second: Floats, period: Floats | float) -> Floats:
    """(N,) absolute differences of angles, each modulo its period (pi or 2 pi)."""
    difference = (first - second + period / 2) % period - period / 2
    shortest: Floats = np.where(difference > math.pi, difference - 2 * math.pi, difference)
    return np.abs(shortest)


def _normalised(rotation: Floats) -> Floats:
    squares = dots(rotation, rotation)
    norm = np.sqrt(squares)
    unit = np.abs(1.0 - squares) < _UNIT_TOLERANCE
    with np.errstate(invalid="ignore"):  # an infinite element becomes NaN there too
        return np.where((unit | ~(norm > 0))[:, None], rotation, rotation / _or_one(norm)[:, None])


def _or_one(norm: Floats) -> Floats:
    return np.where(norm > 0, norm, 1.0)
