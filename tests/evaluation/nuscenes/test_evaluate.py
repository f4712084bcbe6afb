"""The evaluator against the devkit, from tables to NDS, equal to the last bit."""

import json

import nuscenes_tables
import pytest

from kd3d.evaluation.nuscenes import ATTRIBUTES, CLASSES, Boxes, GroundTruth, evaluate
from kd3d.evaluation.nuscenes.cache import load_ground_truth

DISTANCES_M = (0.5, 1.0, 2.0, 4.0)


def same(left: float, right: float) -> bool:
    return left == right or (left != left and right != right)


def boxes_of(truth: GroundTruth, results: dict, order: list) -> Boxes:
    frame_of = {token: frame for frame, token in enumerate(truth.tokens)}
    found = [box for token in order for box in results[token]]
    attributes = [box["attribute_name"] for box in found]
    return Boxes.of(
        {
            "frame": [frame_of[box["sample_token"]] for box in found],
            "label": [CLASSES.index(box["detection_name"]) for box in found],
            "center_m": [box["translation"] for box in found],
            "size_m": [box["size"] for box in found],
            "rotation": [box["rotation"] for box in found],
            "velocity": [box["velocity"] for box in found],
            "score": [box["detection_score"] for box in found],
            "attribute": [ATTRIBUTES.index(name) if name else -1 for name in attributes],
            "points": [box.get("num_pts", -1) for box in found],
        }
    )


@pytest.mark.parametrize("seed", range(24))
def test_equal_to_the_devkit(seed, tmp_path):
    data = nuscenes_tables.random_data_set(seed, frames=6, objects=25)
    dataroot = data.write(tmp_path)
    split = ("mini_val", "our_val")[seed % 2]
    scenes = {"mini_val": ["scene-0103", "scene-0916"], **data.splits}[split]
    results = nuscenes_tables.random_results(data, data.tokens(scenes), seed)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    metrics, curves = nuscenes_tables.devkit_answer(dataroot, data.version, split, path)

    truth = load_ground_truth(dataroot, data.version, split)
    order = list(truth.tokens if split == "our_val" else results["results"])
    result = evaluate(truth, boxes_of(truth, results["results"], order))

    assert result.nds == metrics.nd_score
    assert result.mean_ap == metrics.mean_ap
    assert result.tp_errors == metrics.tp_errors
    assert list(result.label_aps) == CLASSES_IN_ORDER
    for name in CLASSES:
        for distance_m in DISTANCES_M:
            curve = result.curves[name][distance_m]
            assert result.label_aps[name][distance_m] == metrics.get_label_ap(name, distance_m)
            assert curve.precision.tolist() == curves[(name, distance_m)].precision.tolist()
            assert curve.score.tolist() == curves[(name, distance_m)].confidence.tolist()
        for error, value in result.label_tp_errors[name].items():
            assert same(value, metrics.get_label_tp(name, error)), (name, error)


CLASSES_IN_ORDER = list(CLASSES)
