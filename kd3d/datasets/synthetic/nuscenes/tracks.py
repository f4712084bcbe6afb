"""Where things are at a time: paths on the ground, and motion along them."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Pose(NamedTuple):
    """A place on the ground and a heading, in the global frame."""

    x_m: float
    y_m: float
    yaw: float

    def to_global(self, xy_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (N, 2) of this pose's frame in the global frame."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        turn = np.array([[cos, -sin], [sin, cos]])
        moved: NDArray[np.float64] = xy_m @ turn.T + (self.x_m, self.y_m)
        return moved

    def to_local(self, xy_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (N, 2) of the global frame in this pose's frame."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        turn = np.array([[cos, -sin], [sin, cos]])
        moved: NDArray[np.float64] = (xy_m - np.array((self.x_m, self.y_m))) @ turn
        return moved


class Path:
    """A smooth line on the ground by arc length, prolonged straight beyond both ends."""

    def __init__(self, start: Pose, pieces: list[tuple[float, float]]) -> None:
        """Joins arcs.

        Args:
            start: first point and heading.
            pieces: of each piece its length in metres and its curvature in 1/m (left positive).
        """
        self._starts = [start]
        self._curvatures = [curvature for _, curvature in pieces]
        self._begins = [0.0, *accumulate(length for length, _ in pieces)]
        for length, curvature in pieces:
            self._starts.append(_along_arc(self._starts[-1], length, curvature))

    @property
    def length_m(self) -> float:
        """From the start to the end of the last piece."""
        return self._begins[-1]

    def pose(self, s_m: float, left_m: float = 0.0, forward: bool = True) -> Pose:
        """The pose at arc length ``s_m``, ``left_m`` to the left of the line.

        Args:
            s_m: from the start; may lie beyond the ends.
            left_m: to the left of the path's own direction.
            forward: heading along the path, or against it.
        """
        if s_m < 0.0:
            pose = _along_arc(self._starts[0], s_m, 0.0)
        elif s_m >= self.length_m:
            pose = _along_arc(self._starts[-1], s_m - self.length_m, 0.0)
        else:
            piece = bisect_right(self._begins, s_m) - 1
            rest = s_m - self._begins[piece]
            pose = _along_arc(self._starts[piece], rest, self._curvatures[piece])
        x = pose.x_m - left_m * math.sin(pose.yaw)
        y = pose.y_m + left_m * math.cos(pose.yaw)
        return Pose(x, y, pose.yaw if forward else pose.yaw + math.pi)


def _along_arc(start: Pose, length_m: float, curvature: float) -> Pose:
    turned = length_m * curvature
    # a number at a time: math is several times faster here than NumPy
    chord = length_m if turned == 0.0 else 2 * math.sin(turned / 2) / curvature
    angle = start.yaw + turned / 2
    return Pose(
        start.x_m + chord * math.cos(angle),
        start.y_m + chord * math.sin(angle),
        start.yaw + turned,
    )


@dataclass(frozen=True)
class Motion:
    """A steady drive that may brake to a stand.

    Attributes:
        speed_mps: at first, not negative.
        stop_after_m: distance from the start to the stand; None drives on.
        deceleration: of the braking, m/s^2.
    """

    speed_mps: float = 0.0
    stop_after_m: float | None = None
    deceleration: float = 2.0

    def distance_m(self, time_s: float) -> float:
        """Travelled since time 0; negative before."""
        if self.speed_mps == 0.0 or self.stop_after_m is None:
            return self.speed_mps * time_s
        braking_s, rate = self._braking()
        late = min(max(time_s - braking_s, 0.0), self.speed_mps / rate)
        return self.speed_mps * (min(time_s, braking_s) + late) - rate * late * late / 2

    def speed_at(self, time_s: float) -> float:
        """Metres a second at a time."""
        if self.speed_mps == 0.0 or self.stop_after_m is None:
            return self.speed_mps
        braking_s, rate = self._braking()
        return max(self.speed_mps - rate * max(time_s - braking_s, 0.0), 0.0)

    def _braking(self) -> tuple[float, float]:
        """When it begins, and m/s^2: harder where the way is too short for ``deceleration``."""
        assert self.stop_after_m is not None
        rate = max(self.deceleration, self.speed_mps**2 / 2 / max(self.stop_after_m, 1e-3))
        braking_m = self.speed_mps**2 / 2 / rate
        return max(self.stop_after_m - braking_m, 0.0) / self.speed_mps, rate


@dataclass(frozen=True)
class Track:
    """Something that follows a path.

    Attributes:
        path: line on the ground.
        start_m: arc length at time 0.
        left_m: to the left of the path's direction, constant.
        forward: along the path, or against it.
        motion: how far it gets.
        turned: heading relative to the direction of travel, radians.
    """

    path: Path
    start_m: float
    left_m: float = 0.0
    forward: bool = True
    motion: Motion = Motion()
    turned: float = 0.0

    def pose(self, time_s: float) -> Pose:
        """Where it is."""
        travelled = self.motion.distance_m(time_s)
        s_m = self.start_m + (travelled if self.forward else -travelled)
        pose = self.path.pose(s_m, self.left_m, self.forward)
        return Pose(pose.x_m, pose.y_m, pose.yaw + self.turned)

    def speed_at(self, time_s: float) -> float:
        """Of the motion along the path, metres a second."""
        return self.motion.speed_at(time_s)


def standing_at(pose: Pose) -> Track:
    """The track of something that never moves."""
    return Track(Path(pose, [(1.0, 0.0)]), 0.0)
