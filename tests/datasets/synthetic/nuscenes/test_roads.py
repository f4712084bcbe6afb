"""Roads and their raster, on a straight road along x."""

import math

import numpy as np
import pytest

from kd3d.datasets.synthetic.nuscenes.materials import MATERIALS
from kd3d.datasets.synthetic.nuscenes.roads import Network, Road, draw_ground, draw_network
from kd3d.datasets.synthetic.nuscenes.tracks import Path, Pose

# one lane each way of 3.5 m, parking of 2.6 m, pavements of 3.2 m
STREET = Road(Path(Pose(100.0, 100.0, 0.0), [(120.0, 0.0)]), 1, 2.6, (60.0,), 8.0)


def test_measures_across():
    assert STREET.lanes_half_m == pytest.approx(3.5)
    assert STREET.kerb_m == pytest.approx(6.1)
    assert STREET.edge_m == pytest.approx(9.3)


def test_open_stretches_keep_away_from_crossings():
    # the crossing road reaches from 52 to 68 m
    assert not STREET.is_open(50.0, 3.0)
    assert STREET.is_open(50.0, 1.0)
    assert not STREET.is_open(60.0, 0.0)


@pytest.mark.parametrize(
    ("left_m", "expected"),
    [(2.0, "asphalt"), (-5.0, "asphalt"), (7.5, "pavement"), (-7.5, "pavement"), (12.0, "grass")],
)
def test_materials_across(left_m, expected):
    ground = draw_ground(Network((STREET,)), "grass")
    x, y, _ = STREET.path.pose(31.0 + 4.5, left_m)  # 35.5 m: between two dashes
    assert MATERIALS[ground.at(np.array([[x, y]]))[0]].name == expected


def test_dashes_between_the_lanes():
    ground = draw_ground(Network((STREET,)), "grass")
    names = [
        MATERIALS[ground.at(np.array([STREET.path.pose(s)[:2]]))[0]].name for s in (31.5, 34.5)
    ]
    assert names == ["marking", "asphalt"]  # 3 m of 6 m, from multiples of 6 m


def test_drawn_networks_are_drivable():
    for seed in range(20):
        network = draw_network(np.random.default_rng(seed), drive_m=80.0, first_m=90.0)
        main = network.main
        assert main.path.length_m >= 270
        assert len(network.roads) == 1 + len(main.crossings) in (2, 3)
        for at, side in zip(main.crossings, network.roads[1:], strict=True):
            middle, cross = main.path.pose(at), side.path.pose(90.0)
            assert (middle.x_m, middle.y_m) == pytest.approx((cross.x_m, cross.y_m))
            assert abs(math.sin(cross.yaw - middle.yaw)) > 0.98  # at about a right angle
            assert side.crossing_half_m == main.edge_m
            assert main.crossing_half_m == side.edge_m
