"""Scenes as a whole: who is there, who moves, and that nothing stands in anything else."""

from collections import Counter

import numpy as np
import pytest
from shapely.geometry import Polygon

from kd3d.datasets.synthetic.nuscenes.build import build_scene
from kd3d.datasets.synthetic.nuscenes.catalogue import CLASSES
from kd3d.datasets.synthetic.nuscenes.materials import MATERIAL_INDEX
from kd3d.datasets.synthetic.nuscenes.overlaps import RACK

DURATION_S = 4.0


@pytest.fixture(scope="module")
def scenes():
    return [build_scene([7, number], DURATION_S, "day") for number in range(8)]


def rectangle(pose, length_m, width_m, middle_m=0.0):
    corners = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * (length_m / 2, width_m / 2)
    return Polygon(pose.to_global(corners + np.array([middle_m, 0])))


def test_classes_have_a_long_tail(scenes):
    counts = Counter(CLASSES.get(a.category) for scene in scenes for a in scene.actors)
    assert set(counts) >= set(CLASSES.values())
    assert counts["car"] == max(counts.values())
    assert counts["car"] > 15 * counts["bus"]


def test_same_seed_same_scene():
    one, again, other = (build_scene(seed, 2.0, "day") for seed in ([1, 2], [1, 2], [1, 3]))
    assert one.solids(1.0).center.tobytes() == again.solids(1.0).center.tobytes()
    assert one.solids(1.0).center.tobytes() != other.solids(1.0).center.tobytes()
    assert one.ego_pose(1.0) == again.ego_pose(1.0)


def test_moving_things_move_as_they_may(scenes):
    speeds = {}
    for scene in scenes:
        for actor in scene.actors:
            name = CLASSES.get(actor.category)
            here, there = actor.track.pose(0.0), actor.track.pose(0.1)
            moved = np.hypot(there.x_m - here.x_m, there.y_m - here.y_m) / 0.1
            speeds.setdefault(name, []).append(moved)
            if actor.posture == "vehicle.parked":
                assert moved == 0
            elif moved > 0.3 and not actor.track.turned:
                # straight ahead, not sideways
                ahead = there.x_m - here.x_m, there.y_m - here.y_m
                assert np.dot(ahead, (np.cos(here.yaw), np.sin(here.yaw))) > 0.09 * moved
    assert max(speeds["pedestrian"]) < 2.2
    assert 5 < max(speeds["car"]) < 18
    assert max(speeds["barrier"]) == max(speeds["traffic_cone"]) == 0


def test_vehicle_stays_on_asphalt(scenes):
    paved = {MATERIAL_INDEX["asphalt"], MATERIAL_INDEX["marking"]}
    for scene in scenes:
        for time_s in np.arange(0.0, DURATION_S, 1.0):
            pose = scene.ego_pose(float(time_s))
            assert scene.ground.at(np.array([[pose.x_m, pose.y_m]]))[0] in paved


def test_nothing_stands_in_anything_else(scenes):
    for scene in scenes[:3]:
        for time_s in (0.0, 2.0, 4.0):
            ego = rectangle(scene.ego_pose(time_s), 4.7, 1.9, middle_m=1.25)
            shapes = [
                rectangle(a.track.pose(time_s), a.length_m, a.width_m)
                for a in scene.actors
                if a.category != RACK
            ]
            assert not any(shape.intersects(ego) for shape in shapes)
            centers = np.array([shape.centroid.coords[0] for shape in shapes])
            for place, shape in enumerate(shapes):
                near = np.hypot(*(centers - centers[place]).T) < 20
                for other in np.flatnonzero(near[:place]):
                    common = shape.intersection(shapes[other]).area
                    # boxes are compared 5 cm smaller all round
                    assert common < 0.4 * min(shape.area, shapes[other].area)


def test_coordinates_are_positive(scenes):
    for scene in scenes:
        solids = scene.solids(0.0)
        assert (solids.center[:, :2] > 0).all()
        rows, columns = scene.ground.material.shape
        assert (solids.center[:, :2] < np.array([columns, rows]) * scene.ground.cell_m).all()
