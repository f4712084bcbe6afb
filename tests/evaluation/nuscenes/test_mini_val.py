"""The evaluator on the real boxes of nuScenes' mini_val, where they are there (KD3D_REAL_DATA)."""

import gzip
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.loaders import filter_eval_boxes
from nuscenes.eval.common.utils import center_distance
from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
from nuscenes.eval.detection.config import config_factory
from nuscenes.eval.detection.data_classes import DetectionBox, DetectionMetrics

from kd3d.evaluation.nuscenes import ATTRIBUTES, CLASSES, Boxes, GroundTruth, evaluate
from kd3d.evaluation.nuscenes.filters import rack_edges
from kd3d.evaluation.nuscenes.protocol import ERRORS, RACK_CATEGORY, UNDEFINED_ERRORS

FILE = Path(os.environ.get("KD3D_REAL_DATA", "")) / "nuscenes_mini_val/nuscenes_mini_val_gt.json.gz"
pytestmark = pytest.mark.skipif(
    "KD3D_REAL_DATA" not in os.environ, reason="KD3D_REAL_DATA is not set"
)


@pytest.fixture(scope="module")
def samples() -> list:
    with gzip.open(FILE) as stream:
        found = json.load(stream)["samples"]
    for row in (row for sample in found for row in sample["annotations"]):
        unknown = None in row["velocity_lidar"]
        row["velocity_lidar"] = [math.nan, math.nan] if unknown else row["velocity_lidar"]
    return found


def annotated(sample: dict) -> list:
    return [row for row in sample["annotations"] if row["name"] in CLASSES]


def devkit_box(sample: dict, row: dict, **entries) -> DetectionBox:
    ego_m = sample["ego2global_translation"]
    place = entries.pop("translation", row["translation_global"])
    return DetectionBox(
        sample_token=sample["token"],
        translation=tuple(place),
        ego_translation=tuple(a - b for a, b in zip(place, ego_m, strict=True)),
        size=tuple(entries.pop("size", row["size_wlh"])),
        rotation=tuple(entries.pop("rotation", row["rotation_global"])),
        velocity=tuple(entries.pop("velocity", row["velocity_lidar"])),
        detection_name=row["name"],
        **{"attribute_name": row["attribute_name"], **entries},
    )


def objects_of(samples: list) -> EvalBoxes:
    boxes = EvalBoxes()
    for sample in samples:
        points = [row["num_lidar_pts"] + row["num_radar_pts"] for row in annotated(sample)]
        found = zip(annotated(sample), points, strict=True)
        boxes.add_boxes(
            sample["token"], [devkit_box(sample, row, num_pts=count) for row, count in found]
        )
    return boxes


def perturbed(samples: list, seed: int) -> EvalBoxes:
    """Each object found up to three times, more or less well, with scores of two digits."""
    random = np.random.default_rng(seed)
    boxes = EvalBoxes()
    for sample in samples:
        found = []
        for row in annotated(sample):
            for _ in range(random.integers(0, 4)):
                spread = random.choice([0.05, 0.3, 1.5])
                turn = random.normal() * spread / 2
                w, x, y, z = row["rotation_global"]
                c, s = math.cos(turn), math.sin(turn)
                place = np.array(row["translation_global"]) + random.normal(size=3) * spread
                size = np.array(row["size_wlh"]) * random.uniform(0.8, 1.2, 3)
                entries = {
                    "translation": place.tolist(),
                    "size": size.tolist(),
                    "rotation": (c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w),
                    "velocity": random.normal(size=2).tolist(),
                    "detection_score": round(float(random.uniform(0, 1 / (1 + spread))), 2),
                }
                if random.random() < 0.3:
                    entries["attribute_name"] = str(random.choice(ATTRIBUTES))
                found.append(devkit_box(sample, row, **entries))
        boxes.add_boxes(sample["token"], found)
    return boxes


def arrays_of(boxes: EvalBoxes, tokens: list) -> Boxes:
    found = boxes.all
    names = [box.attribute_name for box in found]
    return Boxes.of(
        {
            "frame": [tokens.index(box.sample_token) for box in found],
            "label": [CLASSES.index(box.detection_name) for box in found],
            "center_m": [box.translation for box in found],
            "size_m": [box.size for box in found],
            "rotation": [box.rotation for box in found],
            "velocity": [box.velocity for box in found],
            "score": [box.detection_score for box in found],
            "attribute": [ATTRIBUTES.index(name) if name else -1 for name in names],
            "points": [box.num_pts for box in found],
        }
    )


def truth_of(samples: list) -> GroundTruth:
    racks = [
        (frame, row)
        for frame, sample in enumerate(samples)
        for row in sample["annotations"]
        if row["name"] == RACK_CATEGORY
    ]
    tokens = [sample["token"] for sample in samples]
    return GroundTruth(
        tokens=tuple(tokens),
        ego_m=np.array([sample["ego2global_translation"] for sample in samples]),
        boxes=arrays_of(objects_of(samples), tokens),
        rack_frame=np.array([frame for frame, _ in racks]),
        rack_m=rack_edges(
            np.array([row["translation_global"] for _, row in racks]),
            np.array([row["size_wlh"] for _, row in racks]),
            np.array([row["rotation_global"] for _, row in racks]),
        ),
    )


class Tables:
    """What the devkit's filter asks its database: where the racks are."""

    def __init__(self, samples: list) -> None:
        self.samples = {sample["token"]: sample for sample in samples}

    def get(self, table: str, token):
        if table == "sample":
            rows = self.samples[token]["annotations"]
            return {"anns": [(token, number) for number in range(len(rows))]}
        row = self.samples[token[0]]["annotations"][token[1]]
        return {
            "category_name": row["name"],
            "translation": row["translation_global"],
            "size": row["size_wlh"],
            "rotation": row["rotation_global"],
        }


def test_the_objects_found_as_they_are_score_one(samples):
    truth = truth_of(samples)
    assert (len(truth.tokens), len(truth.boxes), len(truth.rack_frame)) == (81, 4441, 54)
    result = evaluate(truth, truth.boxes)
    present = {CLASSES[label] for label in truth.boxes.label}
    assert len(present) == 7
    for name in present:
        assert list(result.label_aps[name].values()) == pytest.approx([1.0] * 4)
        assert result.label_tp_errors[name]["trans_err"] == 0.0


@pytest.mark.parametrize("seed", range(2))
def test_equal_to_the_devkit(samples, seed):
    config, tables = config_factory("detection_cvpr_2019"), Tables(samples)
    predictions = perturbed(samples, seed)
    tokens = [sample["token"] for sample in samples]
    result = evaluate(truth_of(samples), arrays_of(predictions, tokens))

    objects = filter_eval_boxes(tables, objects_of(samples), config.class_range)
    found = filter_eval_boxes(tables, predictions, config.class_range)
    assert 2000 < len(objects.all) < 4441
    metrics = DetectionMetrics(config)
    for name in CLASSES:
        for distance_m in config.dist_ths:
            data = accumulate(objects, found, name, center_distance, distance_m)
            ap = calc_ap(data, config.min_recall, config.min_precision)
            assert result.label_aps[name][distance_m] == ap
            metrics.add_label_ap(name, distance_m, ap)
            if distance_m == config.dist_th_tp:
                for error in ERRORS:
                    value = math.nan
                    if error not in UNDEFINED_ERRORS.get(name, ()):
                        value = calc_tp(data, config.min_recall, error)
                        assert result.label_tp_errors[name][error] == value, (name, error)
                    metrics.add_label_tp(name, error, value)
    assert result.mean_ap == metrics.mean_ap
    assert result.nds == metrics.nd_score
    assert 0.1 < result.nds < 0.9
