"""Annotations: tracks, visibility, point counts."""

import json
import math

import numpy as np
import pytest

from kd3d.datasets.synthetic.nuscenes.annotate import (
    Frame,
    annotation_rows,
    boxes_at,
    count_points,
    token_of,
)
from kd3d.datasets.synthetic.nuscenes.build import build_scene
from kd3d.datasets.synthetic.nuscenes.lidar import WEATHER, lidar_pose, scan
from kd3d.datasets.synthetic.nuscenes.materials import MATERIAL_INDEX
from kd3d.datasets.synthetic.nuscenes.scene import Actor, Ground, Scene
from kd3d.datasets.synthetic.nuscenes.solids import BOX, Solids
from kd3d.datasets.synthetic.nuscenes.tables import token_maker
from kd3d.datasets.synthetic.nuscenes.tracks import Motion, Path, Pose, Track, standing_at

CONCRETE = MATERIAL_INDEX["concrete"]
GROUND = Ground(np.zeros((1, 1), np.int8), 0.0, 0.0, 1000.0)
TOKEN = token_maker(0)


def car(track, height_m=1.6) -> Actor:
    half = height_m / 2
    parts = Solids.of([(BOX, (0, 0, half), (2, 0.9, half - 0.05), 0.0, CONCRETE)])
    return Actor("vehicle.car", 4.0, 1.8, height_m, parts, track, "traffic")


def frames_of(scene, times):
    frames = []
    for time_s in times:
        ego = scene.ego_pose(time_s)
        sweep = scan(scene.solids(time_s), GROUND, ego, WEATHER["day"], len(scene.actors), 0)
        share = sweep.seen / np.maximum(sweep.possible, 1)
        frames.append(Frame(time_s, sweep, share))
    return frames


@pytest.fixture(scope="module")
def hidden_for_a_while():
    """A car drives at 5 m/s past a wall; a high one stands 80 m away, in sight of the LiDAR."""
    path = Path(Pose(60.0, 20.0, math.pi / 2), [(60.0, 0.0)])
    actors = (
        car(Track(path, 0.0, motion=Motion(5.0))),
        car(standing_at(Pose(41.0, 116.0, 0.0)), height_m=4.0),
    )
    wall = Solids.of([(BOX, (50, 36, 2), (0.2, 4, 2), 0.0, CONCRETE)])
    scene = Scene(actors, wall, GROUND, standing_at(Pose(40.0, 36.0, 0.0)), "day")
    frames = frames_of(scene, [0.0, 3.0, 6.0])  # at y = 20, 35 (hidden), 50
    return scene, frames


def test_track_goes_on_while_hidden(hidden_for_a_while):
    scene, frames = hidden_for_a_while
    rows, instances = annotation_rows(scene, frames, ["a", "b", "c"], "scene", TOKEN)
    assert [row["sample_token"] for row in rows] == ["a", "b", "c"]
    assert [row["translation"] for row in rows] == [[60, y, 0.8] for y in (20, 35, 50)]
    assert rows[0]["size"] == [1.8, 4.0, 1.6]  # nuScenes: width, length, height
    assert rows[0]["num_lidar_pts"] > 10
    assert rows[1]["num_lidar_pts"] == 0
    assert [row["visibility_token"] for row in rows] == ["4", "1", "4"]
    assert [row["prev"] for row in rows] == ["", rows[0]["token"], rows[1]["token"]]
    assert [row["next"] for row in rows] == [rows[1]["token"], rows[2]["token"], ""]
    assert [row["attribute_tokens"] for row in rows] == [[TOKEN("vehicle.moving")]] * 3
    assert frames[0].sweep.seen[1] > 0
    (instance,) = instances  # too far away, though seen
    assert instance["nbr_annotations"] == 3
    assert instance["first_annotation_token"] == rows[0]["token"]
    assert instance["last_annotation_token"] == rows[2]["token"]


def test_visibility_levels():
    assert [token_of(share) for share in (0, 0.39, 0.4, 0.6, 0.79, 0.8, 1)] == list("1123344")


@pytest.fixture(scope="module")
def real_frame():
    scene = build_scene([11, 0], 2.0, "day")
    sweep = scan(
        scene.solids(1.0), scene.ground, scene.ego_pose(1.0), WEATHER["day"], len(scene.actors), 9
    )
    return scene, Frame(1.0, sweep, sweep.seen / np.maximum(sweep.possible, 1))


def inside(points, box_center, size, yaw):
    """Which points lie in a box: the naive way, one box at a time in its own frame."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    local = (points - box_center) @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    return (np.abs(local) <= size / 2).all(axis=1)


def global_points(scene, frame):
    points = frame.sweep.points[:, :3].astype(np.float64)
    points[:, :2] = lidar_pose(scene.ego_pose(frame.time_s)).to_global(points[:, :2])
    points[:, 2] += 1.84023
    return points


def test_counts_equal_a_naive_count(real_frame):
    scene, frame = real_frame
    boxes, points = boxes_at(scene, 1.0), global_points(*real_frame)
    naive = [
        inside(points, center, size, yaw).sum()
        for center, size, yaw in zip(boxes.center, boxes.size, boxes.yaw, strict=True)
    ]
    assert count_points(scene, boxes, frame).tolist() == naive
    assert np.sum(np.array(naive) > 0) > 20


def test_boxes_hold_their_owners_points(real_frame):
    scene, frame = real_frame
    boxes, points = boxes_at(scene, 1.0), global_points(*real_frame)
    own, within_own, within = 0, 0, 0
    for place, size in enumerate(boxes.size):
        grown = size + 0.1  # range noise
        held = inside(points, boxes.center[place], grown, boxes.yaw[place])
        mine = frame.sweep.owner == place
        own += mine.sum()
        within_own += (held & mine).sum()
        within += (held & (points[:, 2] > 0.15)).sum()  # without the ground below
    assert own > 2000
    assert within_own / own > 0.97
    assert within_own / within > 0.9


def test_readable_numbers_in_the_files(small_root):
    rows = json.loads((small_root / "v1.0-trainval/sample_annotation.json").read_text())
    assert {len(row["token"]) for row in rows} == {32}
    assert len({row["token"] for row in rows}) == len(rows)
    assert all(row["translation"][2] == pytest.approx(row["size"][2] / 2, abs=1e-3) for row in rows)
