"""Lanes: who waits at a red light, and that nobody drives into anybody."""

import numpy as np
import pytest

from kd3d.datasets.synthetic.nuscenes.roads import Road
from kd3d.datasets.synthetic.nuscenes.tracks import Path, Pose
from kd3d.datasets.synthetic.nuscenes.traffic import (
    EGO_FRONT_M,
    Lane,
    ego_track,
    fill_lane,
    walkers,
)

ROAD = Road(Path(Pose(0.0, 0.0, 0.0), [(300.0, 0.0)]), 1, 0.0, (200.0,), 10.0)
LINE_M = 200 - 10 - 5  # 5 m before the crossing road


def lane(red, ego_m=None, forward=True):
    return Lane(ROAD, -1.75 if forward else 1.75, forward, 10.0, red, ego_m)


def spans(actors, time_s):
    """Rear and front of each vehicle along x, in order."""
    middles = np.array([actor.track.pose(time_s).x_m for actor in actors])
    halves = np.array([actor.length_m / 2 for actor in actors])
    order = np.argsort(middles)
    return (middles - halves)[order], (middles + halves)[order]


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("red", [True, False])
def test_nobody_drives_into_anybody(red, forward):
    for seed in range(10):
        actors = fill_lane(lane(red, forward=forward), np.random.default_rng(seed))
        for time_s in np.arange(0.0, 20.0, 1.0):
            rear, front = spans(actors, float(time_s))
            assert (rear[1:] > front[:-1]).all()


def test_red_light_stops_those_before_the_line():
    actors = fill_lane(lane(red=True), np.random.default_rng(3))
    before = [a for a in actors if a.track.pose(0.0).x_m < LINE_M]
    beyond = [a for a in actors if a.track.pose(0.0).x_m > LINE_M]
    assert len(before) >= 2
    _, front = spans(before, 60.0)
    assert front.max() == pytest.approx(LINE_M)
    assert all(a.track.speed_at(60.0) == 0 for a in before)
    assert all(a.track.speed_at(60.0) == 10.0 for a in beyond)
    # nobody starts within the crossing, where the others drive
    rear, front = spans(actors, 0.0)
    assert not ((front > LINE_M + 0.01) & (rear < 200 + 10)).any()


@pytest.mark.parametrize(("ego_m", "end_m"), [(140.0, LINE_M - EGO_FRONT_M), (184.5, 184.6)])
def test_vehicle_is_first_in_its_queue(ego_m, end_m):
    ours = lane(red=True, ego_m=ego_m)
    track = ego_track(ours)
    assert track.pose(60.0).x_m == pytest.approx(end_m)
    for seed in range(10):
        for actor in fill_lane(ours, np.random.default_rng(seed)):
            for time_s in (0.0, 5.0, 30.0):
                gap = abs(actor.track.pose(time_s).x_m - track.pose(time_s).x_m)
                assert gap > actor.length_m / 2 + 1.5


def test_green_lane_goes_on():
    ours = lane(red=False, ego_m=140.0)
    assert ego_track(ours).pose(3.0).x_m == pytest.approx(170.0)


def test_people_walk_on_pavements():
    people = walkers(ROAD, np.random.default_rng(0), 60.0)
    assert len(people) > 40
    for person in people:
        assert ROAD.kerb_m < abs(person.track.pose(0.0).y_m) < ROAD.edge_m
        assert 0 <= person.track.speed_at(0.0) < 2
    assert {a.category for a in people} >= {"human.pedestrian.adult", "human.pedestrian.child"}
