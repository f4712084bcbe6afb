import json
import math

import numpy as np
import pytest
from nuscenes_work import fabricate_nuscenes

from kd3d.evaluation.nuscenes import Boxes
from kd3d.report.bev_frames import MIN_SCORE, BevBoxes, Lidar, bev_frames, match
from kd3d.report.record import find_records
from kd3d.report.summary import summarize


def boxes(*rows):
    """BevBoxes of (x, y, label, score), each a metre wide and long."""
    square = np.array([[-0.5, 0.5], [0.5, 0.5], [0.5, -0.5], [-0.5, -0.5]])
    center = np.array([row[:2] for row in rows], dtype=float).reshape(-1, 1, 2)
    label = np.array([row[2] for row in rows], dtype=np.int64)
    return BevBoxes(square + center, label, np.array([row[3] for row in rows], dtype=float))


@pytest.fixture
def work(tmp_path):
    return fabricate_nuscenes(tmp_path)


def summary_of(work):
    return summarize(find_records(work))


def test_the_best_score_takes_the_nearest_free_object_of_its_class():
    objects = boxes((0, 0, 0, -1), (3, 0, 0, -1), (0, 9, 1, -1))
    found = boxes((1, 0, 0, 0.5), (1.4, 0, 0, 0.9), (0, 9, 0, 0.8), (0, 10.9, 1, 0.4))
    # 1: nearest is object 0 (1.4 m) before 1 (1.6 m); 0: object 0 is gone, object 1 is 2.0 m off
    assert match(objects, found).tolist() == [-1, 0, -1, 2]
    assert match(boxes(), found).tolist() == [-1] * 4
    assert match(objects, boxes()).tolist() == []


def test_frames_are_the_middle_ones_of_equal_parts(work):
    frames, reason = bev_frames(summary_of(work))
    assert reason == ""
    # 12 frames in 4 parts of 3: the second of each, whatever was found there
    assert [frame.title for frame in frames] == [
        *("scene-0103, frame 2 of 12", "scene-0103, frame 5 of 12"),
        *("scene-0061, frame 8 of 12", "scene-0061, frame 11 of 12"),
    ]
    assert [list(frame.found) for frame in frames] == [["teacher", "baseline", "distilled"]] * 4
    assert all(frame.points_m.shape == (400, 2) for frame in frames)


def test_boxes_lie_in_the_lidars_frame_and_only_those_that_count(tmp_path, work):
    tables = {
        name: json.loads((tmp_path / "world" / "v1.0-mini" / f"{name}.json").read_text())
        for name in ("sample_annotation", "instance", "ego_pose", "calibrated_sensor")
    }
    pytest.importorskip("pyquaternion")
    from pyquaternion import Quaternion

    frame = bev_frames(summary_of(work))[0][-1]
    token = "scene-0061-4"  # frame 11 of 12
    pose = next(r for r in tables["ego_pose"] if r["token"] == f"pose-{token}-lidar-True")
    sensor = next(r for r in tables["calibrated_sensor"] if r["token"] == "cs-lidar")
    centers = []
    for row in tables["sample_annotation"]:
        if row["sample_token"] != token or row["num_lidar_pts"] + row["num_radar_pts"] == 0:
            continue
        point = np.array(row["translation"])
        for step in (pose, sensor):
            point = Quaternion(step["rotation"]).inverse.rotate(point - step["translation"])
        centers.append(point[:2])
    for center in frame.objects.center_m:
        assert np.abs(np.array(centers) - center).max(axis=1).min() < 1e-6
    assert 0 < len(frame.objects.score) <= len(centers)
    assert (frame.objects.score == -1).all()
    assert all((found.score >= MIN_SCORE).all() for found in frame.found.values())


def test_a_box_has_its_length_ahead_and_turns_with_the_vehicle():
    def quaternion(yaw_rad):
        return [math.cos(yaw_rad / 2), 0.0, 0.0, math.sin(yaw_rad / 2)]

    boxes = Boxes.of(
        {
            "frame": [0],
            "label": [0],
            "center_m": [[110.0, 200.0, 1.0]],
            "size_m": [[2.0, 4.0, 1.5]],  # width, length, height
            "rotation": [quaternion(0.0)],
            "velocity": [[0.0, 0.0]],
            "score": [-1.0],
            "attribute": [-1],
            "points": [9],
        }
    )
    # the vehicle at (100, 200) looks along y, its LiDAR's y is ahead (a quarter turn back)
    lidar = Lidar(
        scene="",
        filename="",
        ego={"translation": [100.0, 200.0, 0.0], "rotation": quaternion(math.pi / 2)},
        sensor={"translation": [1.0, 0.0, 2.0], "rotation": quaternion(-math.pi / 2)},
    )
    # 10 m along the world's x is 10 m to the right of it, 1 m behind the LiDAR
    seen = lidar.see(boxes)
    assert seen.center_m == pytest.approx(np.array([[10.0, -1.0]]))
    # the box looks right: front left, front right, rear right, rear left
    expected = [[12.0, 0.0], [12.0, -2.0], [8.0, -2.0], [8.0, 0.0]]
    assert seen.corners_m[0] == pytest.approx(np.array(expected))


def test_what_is_missing_is_said(tmp_path, work):
    for path in (tmp_path / "world" / "samples").iterdir():
        path.unlink()
    frames, _ = bev_frames(summary_of(work))
    assert all(frame.points_m.shape == (0, 2) for frame in frames)
    (tmp_path / "world" / "v1.0-mini" / "sample.json").unlink()
    frames, reason = bev_frames(summary_of(work))
    assert frames == []
    assert "sample" in reason
    for path in work.rglob("predictions.nuscenes.json"):
        path.unlink()
    assert "No predictions lie beside" in bev_frames(summary_of(work))[1]
