"""Boxes of a nuScenes-sized split made of noise, to measure evaluators with."""

import numpy as np

from kd3d.evaluation.nuscenes import ATTRIBUTES, CLASSES, CVPR_2019, Boxes, GroundTruth
from kd3d.evaluation.nuscenes.boxes import Floats

# Shares of the classes in nuScenes' annotations, in the order of CLASSES.
_SHARES = np.array([0.42, 0.08, 0.02, 0.03, 0.015, 0.2, 0.015, 0.015, 0.08, 0.125])
_OBJECTS = 30  # in a frame
_NEAR = 0.5  # share of the predictions that lie near an object
_SPREAD_M = 0.8  # standard deviation of their distance along each axis
_FARTHEST = 0.9  # of a class's range, so that the filters drop next to nothing


def nuscenes_corpus(frames: int, predictions: int) -> tuple[GroundTruth, Boxes]:
    """Ground truth and predictions of a split.

    Args:
        frames: how many.
        predictions: in each frame; half of them lie near an object of their class.
    """
    random = np.random.default_rng(0)
    truth = _boxes(random, frames, _OBJECTS, score=np.full(frames * _OBJECTS, -1.0), points=5)
    scores = random.random(frames * predictions)
    found = _boxes(random, frames, predictions, score=scores, points=-1)
    near = np.flatnonzero(random.random(len(found)) < _NEAR)
    source = found.frame[near] * _OBJECTS + random.integers(0, _OBJECTS, len(near))
    for name in ("label", "size_m", "rotation", "velocity"):
        getattr(found, name)[near] = getattr(truth, name)[source]
    shift_m = random.normal(scale=_SPREAD_M, size=(len(near), 3))
    found.center_m[near] = truth.center_m[source] + shift_m
    ground = GroundTruth(
        tokens=tuple(f"sample-{frame}" for frame in range(frames)),
        ego_m=np.zeros((frames, 3)),
        boxes=truth,
        rack_frame=np.zeros(0, dtype=np.int64),
        rack_m=np.zeros((0, 4, 3)),
    )
    return ground, found


def _boxes(
    random: np.random.Generator, frames: int, count: int, *, score: Floats, points: int
) -> Boxes:
    N = frames * count
    label = random.choice(len(CLASSES), N, p=_SHARES / _SHARES.sum())
    range_m = np.array([CVPR_2019.range_m[name] for name in CLASSES])[label]
    distance_m = _FARTHEST * range_m * np.sqrt(random.random(N))
    bearing, half_yaw = random.uniform(-np.pi, np.pi, N), random.uniform(-np.pi / 2, np.pi / 2, N)
    zeros = np.zeros(N)
    return Boxes(
        frame=np.repeat(np.arange(frames), count),
        label=label,
        center_m=np.stack([distance_m * np.cos(bearing), distance_m * np.sin(bearing), zeros], 1),
        size_m=random.uniform(0.5, 5, (N, 3)),
        rotation=np.stack([np.cos(half_yaw), zeros, zeros, np.sin(half_yaw)], axis=1),
        velocity=random.normal(size=(N, 2)),
        score=score,
        attribute=random.integers(-1, len(ATTRIBUTES), N),
        points=np.full(N, points),
    )
