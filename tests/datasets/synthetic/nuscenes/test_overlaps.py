"""Which of two objects stays where both cannot."""

import math

import pytest

from kd3d.datasets.synthetic.nuscenes.overlaps import RACK, without_overlaps
from kd3d.datasets.synthetic.nuscenes.scene import Actor
from kd3d.datasets.synthetic.nuscenes.solids import Solids
from kd3d.datasets.synthetic.nuscenes.tracks import Motion, Path, Pose, Track, standing_at


def thing(x_m, length_m=4.0, width_m=2.0, y_m=0.0, yaw=0.0, category="vehicle.car", speed=0.0):
    track = standing_at(Pose(x_m, y_m, yaw))
    if speed:
        track = Track(Path(Pose(x_m, y_m, yaw), [(10.0, 0.0)]), 0.0, motion=Motion(speed))
    return Actor(category, length_m, width_m, 1.0, Solids.of([]), track)


def test_larger_one_stays():
    small, large, away = thing(0.5, 1.0, 1.0), thing(0.0), thing(9.0)
    assert without_overlaps([small, large, away], 1.0) == [large, away]


@pytest.mark.parametrize(
    ("yaw", "stays"),
    # 4 x 2 m at the origin; 1 x 0.4 m at x = 2.35: lengthwise it begins at 1.85, across at 2.15
    [(0.0, False), (math.pi / 2, True)],
)
def test_turned_boxes(yaw, stays):
    pair = [thing(0.0), thing(2.35, 1.0, 0.4, yaw=yaw)]
    assert (len(without_overlaps(pair, 1.0)) == 2) == stays


def test_what_moves_stays():
    moving, wide = thing(-20.0, 2.0, 1.0, speed=10.0), thing(0.0, 6.0, 3.0)
    assert without_overlaps([moving, wide], 1.0) == [moving, wide]  # it gets to -10 m only
    assert without_overlaps([moving, wide], 2.0) == [moving]


def test_loser_of_a_loser_stays():
    large, middle, small = thing(0.0), thing(2.5, 3.0, 1.5), thing(4.2, 1.0, 1.0)
    assert without_overlaps([small, middle, large], 1.0) == [small, large]


def test_racks_hold_bicycles():
    pair = [thing(0.0, category=RACK), thing(0.0, 1.7, 0.6, category="vehicle.bicycle")]
    assert without_overlaps(pair, 1.0) == pair
