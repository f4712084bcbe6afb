"""Paths of arcs and motion along them, by hand."""

import math

import numpy as np
import pytest

from kd3d.datasets.synthetic.nuscenes.tracks import Motion, Path, Pose, Track, standing_at

# 10 m straight, then a quarter turn to the left with a radius of 5 m
BEND = Path(Pose(0.0, 0.0, 0.0), [(10.0, 0.0), (math.pi / 2 * 5, 1 / 5)])


@pytest.mark.parametrize(
    ("s_m", "left_m", "expected"),
    [
        (-2, 0, (-2, 0, 0)),
        (4, 1, (4, 1, 0)),
        (10 + math.pi / 4 * 5, 0, (10 + 5 / 2**0.5, 5 - 5 / 2**0.5, math.pi / 4)),
        (10 + math.pi / 2 * 5, 0, (15, 5, math.pi / 2)),
        (10 + math.pi / 2 * 5 + 3, 1, (14, 8, math.pi / 2)),  # goes on straight
    ],
)
def test_pose_on_a_path(s_m, left_m, expected):
    assert BEND.pose(s_m, left_m) == pytest.approx(expected)


def test_heading_against_the_path():
    assert BEND.pose(4, 1, forward=False) == pytest.approx((4, 1, math.pi))


def test_braking_to_a_stand():
    # 10 m/s, 2 m/s^2: 25 m of braking, so it begins after 25 m = 2.5 s and ends 5 s later
    motion = Motion(10.0, stop_after_m=50.0, deceleration=2.0)
    assert [motion.distance_m(t) for t in (-1, 2, 3.5, 7.5, 9)] == pytest.approx(
        [-10, 20, 35 - 1, 50, 50]
    )
    assert [motion.speed_at(t) for t in (2, 3.5, 7.5, 9)] == pytest.approx([10, 8, 0, 0])


def test_short_way_brakes_harder():
    motion = Motion(10.0, stop_after_m=10.0)  # 100 / 2 / 10 = 5 m/s^2, 2 s
    assert motion.distance_m(1.0) == pytest.approx(10 - 5 / 2)
    assert motion.distance_m(5.0) == pytest.approx(10)


def test_track_drives_against_its_path():
    track = Track(BEND, start_m=8.0, left_m=2.0, forward=False, motion=Motion(3.0))
    assert track.pose(2.0) == pytest.approx((2, 2, math.pi))
    assert track.speed_at(2.0) == 3.0


def test_standing():
    track = standing_at(Pose(3.0, 4.0, 0.5))
    assert track.pose(0.0) == track.pose(9.0) == (3.0, 4.0, 0.5)


def test_frames_are_inverse():
    pose = Pose(1.0, 2.0, math.pi / 2)
    assert pose.to_global(np.array([[3.0, 0.0]])) == pytest.approx(np.array([[1.0, 5.0]]))
    points = np.array([[3.0, 7.0], [-2.0, 0.5]])
    assert pose.to_local(pose.to_global(points)) == pytest.approx(points)
