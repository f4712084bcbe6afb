import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData

from kd3d.errors import UserError
from kd3d.evaluation.coco_metric import CocoRecordMetric

CATEGORIES = [{"id": 7, "name": "car"}, {"id": 3, "name": "person"}, {"id": 4, "name": "tram"}]
BOXES = [  # image, category, x y w h
    (1, 7, [10, 10, 20, 20]),
    (1, 3, [50, 50, 50, 50]),
    (2, 7, [0, 0, 120, 100]),
    (2, 4, [5, 5, 30, 30]),
]


@pytest.fixture
def ann_file(tmp_path) -> str:
    annotations = [
        {"id": n + 1, "image_id": i, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
        for n, (i, c, b) in enumerate(BOXES)
    ]
    content = {
        "images": [{"id": 1}, {"id": 2}],
        "categories": CATEGORIES,
        "annotations": annotations,
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content))
    return str(path)


def sample(image_id, boxes: list, labels: list) -> DetDataSample:
    """Boxes as x1 y1 x2 y2, as mmdet's detectors answer."""
    instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        scores=torch.full((len(labels),), 0.5),
        labels=torch.tensor(labels, dtype=torch.long),
    )
    return DetDataSample(metainfo={"img_id": image_id}, pred_instances=instances)


def evaluator(ann_file: str, classes: tuple = ("person", "car"), **options) -> Evaluator:
    """As the Runner builds it from a config: by type name."""
    built = Evaluator(dict(type="CocoRecordMetric", ann_file=ann_file, **options))
    built.dataset_meta = {"classes": classes}
    return built


def test_labels_map_by_class_name_and_keys_are_those_of_mmdet(ann_file):
    built = evaluator(ann_file)  # label 0 person (id 3), label 1 car (id 7): not the file's order
    built.process([sample(1, [[10, 10, 30, 30], [50, 50, 100, 100]], [1, 0])])
    built.process([sample(2, [[0, 0, 120, 100]], [1])])
    values = built.evaluate(2)
    keys = ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "bbox_mAP_s", "bbox_mAP_m", "bbox_mAP_l")
    # fractions; the tram is no class of this dataset, so missing it costs nothing
    assert values == {f"coco/{key}": pytest.approx(1.0) for key in keys}


def test_values_equal_those_of_mmdet(ann_file):
    torch.manual_seed(0)
    corners = torch.tensor([[x, y, x + w, y + h] for _, _, (x, y, w, h) in BOXES]).repeat(6, 1)
    samples = []
    for image_id in (1, 2):
        found = (corners + 6 * torch.randn(len(corners), 4)).tolist()
        labels = torch.randint(3, (len(corners),)).tolist()
        samples.append(sample(image_id, found, labels))
        samples[-1].pred_instances.scores = torch.rand(len(corners))
        samples[-1].set_metainfo({"ori_shape": (200, 200)})
    classes = tuple(category["name"] for category in CATEGORIES)  # mmdet needs the file's order
    theirs = Evaluator(dict(type="mmdet.CocoMetric", ann_file=ann_file))  # noqa: C408
    theirs.dataset_meta = {"classes": classes}
    expected, got = {}, {}
    for built, values in ((theirs, expected), (evaluator(ann_file, classes), got)):
        built.process(samples)
        values.update(built.evaluate(2))
    assert 0.05 < got["coco/bbox_mAP"] < 0.95
    # mmdet rounds to three digits, and its AP75 and sizes follow other box limits only above 100
    assert {key: round(value, 3) for key, value in got.items()} == expected


def test_per_class_and_number_of_images_are_kept(ann_file):
    built = evaluator(ann_file)
    built.process([sample(1, [[10, 10, 30, 30]], [1]), sample(2, [[0, 0, 120, 100]], [1])])
    values = built.evaluate(2)
    metric = built.metrics[0]
    assert values["coco/bbox_mAP"] == pytest.approx((1 + 0) / 2)
    assert metric.images == 2
    assert metric.accuracy.per_class == {
        "car": {"AP": pytest.approx(100.0), "AP50": pytest.approx(100.0)},
        "person": {"AP": 0.0, "AP50": 0.0},
    }


def test_predictions_are_written_as_coco_results(ann_file, tmp_path):
    path = tmp_path / "deep" / "predictions.bbox.json"
    built = evaluator(ann_file, predictions=str(path))
    built.process([sample(1, [[50, 50, 100, 90]], [0]), sample(2, [], [])])
    built.evaluate(2)
    assert json.loads(path.read_text()) == [
        {"image_id": 1, "category_id": 3, "bbox": [50, 50, 50, 40], "score": 0.5}
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("img_1", "img_1"), ("01", "01"), (np.int64(1), 1), (torch.tensor(1), 1)],
)
def test_an_images_id_stays_what_the_annotations_call_it(ann_file, tmp_path, given, kept):
    truth = json.loads(Path(ann_file).read_text())
    truth["images"][0]["id"] = kept
    for annotation in truth["annotations"][:2]:
        annotation["image_id"] = kept
    Path(ann_file).write_text(json.dumps(truth))
    path = tmp_path / "predictions.bbox.json"
    built = evaluator(ann_file, predictions=str(path))
    built.process([sample(given, [[50, 50, 100, 100]], [0]), sample(2, [], [])])
    assert built.evaluate(2)["coco/bbox_mAP"] == pytest.approx((1 + 0) / 2)
    assert json.loads(path.read_text())[0]["image_id"] == kept


def test_nothing_found_is_0_and_an_undefined_value_is_minus_1(ann_file):
    built = evaluator(ann_file, classes=("person",))
    built.process([sample(1, [], []), sample(2, [], [])])
    values = built.evaluate(2)
    assert values["coco/bbox_mAP"] == 0
    assert values["coco/bbox_mAP_l"] == -1  # no large person in the file, as mmdet reports it


def test_images_left_out_are_warned_about(ann_file, monkeypatch):
    built = evaluator(ann_file)
    built.process([sample(1, [], [])])
    said: list[str] = []  # MMEngine's logger does not propagate to pytest's
    monkeypatch.setattr(
        "kd3d.evaluation.coco_metric.print_log", lambda text, **_: said.append(text)
    )
    built.evaluate(1)
    assert len(said) == 1
    assert "1 images were tested, but" in said[0]
    assert "has 2;" in said[0]


def test_class_names_that_do_not_match_are_refused_before_the_first_image(ann_file):
    with pytest.raises(UserError, match=r"classes \['Car'\] \(1 of 2\) are not among"):
        evaluator(ann_file, classes=("person", "Car"))


def test_anything_but_boxes_is_refused(ann_file):
    with pytest.raises(UserError, match="expected metric='bbox'"):
        CocoRecordMetric(ann_file, metric=["bbox", "segm"])
    assert CocoRecordMetric(ann_file, metric=["bbox"], backend_args=None).predictions is None
