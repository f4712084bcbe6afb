"""Takes out objects that would stand in others."""

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.scene import Actor

STEP_S = 0.5
SHRUNK_M = 0.05  # objects may touch by this much
RACK = "static_object.bicycle_rack"


def without_overlaps(actors: list[Actor], duration_s: float) -> list[Actor]:
    """The actors, less those whose box meets another's during a drive.

    What moves is kept before what stands, then the larger before the smaller. Racks hold bicycles,
    so they stay.

    Args:
        actors: in any order, which is kept.
        duration_s: of the drive from time 0.
    """
    times = np.arange(0.0, duration_s + STEP_S, STEP_S)
    poses = np.array([[actor.track.pose(float(t)) for t in times] for actor in actors])
    half = np.array([(actor.length_m, actor.width_m) for actor in actors]) / 2 - SHRUNK_M
    first, second = _meetings(poses, half)
    moves = np.array([actor.track.motion.speed_mps > 0 for actor in actors])
    rank = np.argsort(np.lexsort((-half.prod(axis=1), ~moves)))
    dropped = np.array([actor.category == RACK for actor in actors])  # meets nobody
    neighbours: dict[int, list[int]] = {}
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        weaker, stronger = (one, other) if rank[one] > rank[other] else (other, one)
        neighbours.setdefault(weaker, []).append(stronger)
    for place in sorted(neighbours, key=lambda place: int(rank[place])):
        if not dropped[place]:
            dropped[place] = any(not dropped[other] for other in neighbours[place])
    return [
        actor
        for actor, out in zip(actors, dropped, strict=True)
        if not out or actor.category == RACK
    ]


def _meetings(
    poses: NDArray[np.float64], half: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of boxes that meet at any time.

    Args:
        poses: (A, T, 3) x, y, yaw.
        half: (A, 2) half length and half width.
    """
    reach = np.hypot(*half.T)
    pairs: set[tuple[int, int]] = set()
    for pose in poses.swapaxes(0, 1):
        gap = np.hypot(*(pose[:, None, :2] - pose[None, :, :2]).transpose(2, 0, 1))
        one, other = np.nonzero(np.triu(gap < reach[:, None] + reach[None, :], k=1))
        meets = _overlap(pose[one], half[one], pose[other], half[other])
        pairs.update(zip(one[meets].tolist(), other[meets].tolist(), strict=True))
    found = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _overlap(
    pose: NDArray[np.float64],
    half: NDArray[np.float64],
    other_pose: NDArray[np.float64],
    other_half: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Which of N pairs of turned rectangles overlap: no side of either lies between the two."""
    apart = np.zeros(len(pose), dtype=bool)
    between = other_pose[:, :2] - pose[:, :2]
    turned = other_pose[:, 2] - pose[:, 2]
    cos, sin = np.abs(np.cos(turned)), np.abs(np.sin(turned))
    for yaw, own, far in (
        (pose[:, 2], half, other_half),
        (other_pose[:, 2], other_half, half),
    ):
        along = between[:, 0] * np.cos(yaw) + between[:, 1] * np.sin(yaw)
        across = between[:, 1] * np.cos(yaw) - between[:, 0] * np.sin(yaw)
        apart |= np.abs(along) > own[:, 0] + far[:, 0] * cos + far[:, 1] * sin
        apart |= np.abs(across) > own[:, 1] + far[:, 0] * sin + far[:, 1] * cos
    overlaps: NDArray[np.bool_] = ~apart
    return overlaps
