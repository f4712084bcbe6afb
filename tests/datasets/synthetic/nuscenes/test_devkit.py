"""nuscenes-devkit reads the world unmodified."""

import json

import numpy as np
import pytest
from nuscenes.eval.detection.config import config_factory
from nuscenes.eval.detection.evaluate import NuScenesEval
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box
from nuscenes.utils.splits import get_scenes_of_split

META = {f"use_{name}": name == "lidar" for name in ("camera", "lidar", "radar", "map", "external")}


@pytest.fixture(scope="module")
def database(small_root):
    return NuScenes("v1.0-trainval", str(small_root), verbose=False)


def predictions(database, scene_names):
    """The ground truth that LiDAR can see, as predictions."""
    results = {}
    for sample in database.sample:
        if database.get("scene", sample["scene_token"])["name"] not in scene_names:
            continue
        results[sample["token"]] = [
            prediction(database, row)
            for row in (database.get("sample_annotation", token) for token in sample["anns"])
            if category_to_detection_name(row["category_name"]) and row["num_lidar_pts"]
        ]
    return results


def prediction(database, row):
    attributes = [database.get("attribute", token)["name"] for token in row["attribute_tokens"]]
    return {
        "sample_token": row["sample_token"],
        "translation": row["translation"],
        "size": row["size"],
        "rotation": row["rotation"],
        "velocity": np.nan_to_num(database.box_velocity(row["token"])[:2]).tolist(),
        "detection_name": category_to_detection_name(row["category_name"]),
        "detection_score": 0.5,
        "attribute_name": attributes[0] if attributes else "",
    }


@pytest.mark.parametrize(("split", "scenes"), [("val", 3), ("synthetic_val", 2)])
def test_ground_truth_scores_one(database, tmp_path, split, scenes):
    names = set(get_scenes_of_split(split, database))
    results = predictions(database, names)
    assert len(results) == 4 * scenes
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"meta": META, "results": results}))
    config = config_factory("detection_cvpr_2019")
    judge = NuScenesEval(database, config, str(path), split, str(tmp_path / "out"), verbose=False)
    metrics, _ = judge.evaluate()
    present = {box.detection_name for box in judge.gt_boxes.all}
    assert len(present) >= 6
    for name in present:
        assert metrics.mean_dist_aps[name] == pytest.approx(1.0)
        errors = metrics.get_label_tp(name, "trans_err"), metrics.get_label_tp(name, "scale_err")
        assert errors == pytest.approx((0, 0), abs=1e-6)


def test_counts_and_velocities(database):
    moving = 0
    for sample in database.sample[::5]:
        path, boxes, _ = database.get_sample_data(sample["data"]["LIDAR_TOP"])
        points = LidarPointCloud.from_file(path).points[:3]
        for box in boxes:
            row = database.get("sample_annotation", box.token)
            assert points_in_box(box, points).sum() == row["num_lidar_pts"]
            names = [database.get("attribute", t)["name"] for t in row["attribute_tokens"]]
            speed = np.linalg.norm(database.box_velocity(box.token)[:2])
            if names in (["vehicle.parked"], []):
                assert np.isnan(speed) or speed < 1e-3
            if names == ["vehicle.moving"] and not np.isnan(speed):
                moving += 1
                # ahead, along its heading
                velocity = database.box_velocity(box.token)[:2]
                heading = database.get_box(box.token).rotation_matrix[:2, 0]
                assert velocity @ heading > 0.98 * speed
                assert 0.1 < speed < 17
    assert moving > 10


def test_vehicle_is_on_the_map(database):
    for sample in database.sample[::4]:
        data = database.get("sample_data", sample["data"]["LIDAR_TOP"])
        x, y, z = database.get("ego_pose", data["ego_pose_token"])["translation"]
        log = database.get("log", database.get("scene", sample["scene_token"])["log_token"])
        mask = next(row for row in database.map if log["token"] in row["log_tokens"])["mask"]
        assert mask.is_on_mask(x, y).all()
        assert z == 0
