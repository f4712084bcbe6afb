"""nuscenes-devkit reads the world unmodified."""

import json

import matplotlib
import numpy as np
import pytest
from nuscenes.eval.detection.config import config_factory
from nuscenes.eval.detection.evaluate import NuScenesEval
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box
from nuscenes.utils.splits import get_scenes_of_split

from kd3d.evaluation.nuscenes import evaluate
from kd3d.evaluation.nuscenes.cache import load_ground_truth
from kd3d.evaluation.nuscenes.protocol import CVPR_2019
from kd3d.evaluation.nuscenes.results_reading import read_results

matplotlib.use("Agg")  # drawing needs no screen
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


@pytest.mark.parametrize(
    ("split", "scenes"), [("train", 2), ("val", 2), ("synthetic_val", 2), ("synthetic_test", 1)]
)
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
    assert len(present) >= 4
    for name in present:
        assert metrics.mean_dist_aps[name] == pytest.approx(1.0)
        errors = metrics.get_label_tp(name, "trans_err"), metrics.get_label_tp(name, "scale_err")
        assert errors == pytest.approx((0, 0), abs=1e-6)


def shaken(results, seed=0):
    """Each object missed at times, and found a little beside its place."""
    rng = np.random.default_rng(seed)
    return {
        token: [
            {
                **row,
                "translation": (row["translation"] + rng.normal(0, 0.4, 3)).tolist(),
                "size": (row["size"] * rng.uniform(0.8, 1.2, 3)).tolist(),
                "detection_score": round(float(rng.uniform()), 2),
            }
            for row in rows
            if rng.uniform() > 0.2
        ]
        for token, rows in results.items()
    }


def judge_of(database, folder):
    """The devkit's judge of shaken objects; their file is ``results.json``."""
    path = folder / "results.json"
    names = set(get_scenes_of_split("synthetic_val", database))
    results = shaken(predictions(database, names))
    path.write_text(json.dumps({"meta": META, "results": results}))
    config = config_factory("detection_cvpr_2019")
    out = str(folder / "out")
    return NuScenesEval(database, config, str(path), "synthetic_val", out, verbose=False)


def test_our_evaluator_agrees(database, small_root, tmp_path):
    theirs = judge_of(database, tmp_path).evaluate()[0].serialize()
    truth = load_ground_truth(small_root, "v1.0-trainval", "synthetic_val")
    found = read_results(
        tmp_path / "results.json", truth, split="synthetic_val", protocol=CVPR_2019
    )
    ours = evaluate(truth, found.boxes, matched_in=found.matched_in)
    assert ours.nds == theirs["nd_score"]
    assert ours.mean_ap == theirs["mean_ap"]
    assert 0.1 < ours.mean_ap < 0.9
    assert {name: dict(aps) for name, aps in ours.label_aps.items()} == theirs["label_aps"]
    for name, errors in ours.label_tp_errors.items():
        np.testing.assert_array_equal(  # equal, and nan where a class has none
            [errors[key] for key in errors], [theirs["label_tp_errors"][name][k] for k in errors]
        )


@pytest.mark.slow
def test_the_devkit_draws_its_evaluation(database, tmp_path):
    judge_of(database, tmp_path).main(plot_examples=1, render_curves=True)
    assert len(list((tmp_path / "out" / "examples").glob("*.png"))) == 1
    # a summary, two a class, one a distance
    assert len(list((tmp_path / "out" / "plots").glob("*.pdf"))) == 1 + 2 * 10 + 4


def test_the_devkit_draws_a_sample(database, tmp_path):
    path = tmp_path / "sample.png"
    database.render_sample(database.sample[0]["token"], out_path=str(path), verbose=False)
    assert path.stat().st_size > 10_000


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
