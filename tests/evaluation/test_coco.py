import copy
import json
import os
import re
from pathlib import Path

import pytest

from kd3d.errors import UserError
from kd3d.evaluation.coco import BACKENDS, evaluate_boxes

REAL_DATA = os.environ.get("KD3D_REAL_DATA")


def truth() -> dict:
    """Two images; categories listed out of order of their ids, one without any box."""
    boxes = [  # image, category, x y w h
        (1, 7, [10, 10, 20, 20]),  # small: area 400
        (1, 3, [50, 50, 50, 50]),  # medium: 2500
        (2, 7, [0, 0, 120, 100]),  # large: 12000
    ]
    return {
        "images": [{"id": 1}, {"id": 2}],
        "categories": [
            {"id": 7, "name": "car"},
            {"id": 3, "name": "person"},
            {"id": 9, "name": "tram"},
        ],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
            for n, (i, c, b) in enumerate(boxes)
        ],
    }


def results(score: float = 1.0) -> list[dict]:
    keys = ("image_id", "category_id", "bbox")
    return [{**{key: a[key] for key in keys}, "score": score} for a in truth()["annotations"]]


@pytest.mark.parametrize("backend", BACKENDS)
class TestBothBackends:
    def test_a_set_against_itself_is_100(self, backend):
        accuracy = evaluate_boxes(truth(), results(), backend=backend)
        assert accuracy.metrics == pytest.approx(
            dict.fromkeys(("AP", "AP50", "AP75", "APs", "APm", "APl"), 100.0)
        )
        full = {"AP": pytest.approx(100.0), "AP50": pytest.approx(100.0)}
        assert accuracy.per_class == {"car": full, "person": full, "tram": {}}

    def test_one_class_missed_and_one_box_shifted(self, backend):
        found = [result for result in results() if result["category_id"] == 7]
        found[1]["bbox"] = [0, 0, 120, 72]  # IoU with 120x100: 0.72, matched at 0.50 ... 0.70
        accuracy = evaluate_boxes(truth(), found, backend=backend)
        # 5 of 10 thresholds match both cars (AP 1); at the others one of two is found and ranks
        # with the miss at the same score in image order, first: recall up to 0.5 at precision 1,
        # which covers the 51 points 0.00 ... 0.50 of 101.
        car = 100 * (5 * 1 + 5 * 51 / 101) / 10
        assert accuracy.per_class["car"]["AP"] == pytest.approx(car)
        assert accuracy.per_class["car"]["AP50"] == pytest.approx(100)
        assert accuracy.per_class["person"] == {"AP": 0, "AP50": 0}
        assert accuracy.metrics["AP"] == pytest.approx((car + 0) / 2)
        assert accuracy.metrics["AP75"] == pytest.approx(100 * (51 / 101 + 0) / 2)
        assert accuracy.metrics["APl"] == pytest.approx(50)

    def test_nothing_found_is_0(self, backend):
        accuracy = evaluate_boxes(truth(), [], backend=backend)
        assert set(accuracy.metrics.values()) == {0.0}

    def test_no_ground_truth_is_absent_and_not_a_number(self, backend):
        accuracy = evaluate_boxes({**truth(), "annotations": []}, results(), backend=backend)
        assert accuracy.metrics == {}

    def test_crowds_and_categories_not_asked_for_do_not_count(self, backend):
        changed = truth()
        changed["annotations"][1]["iscrowd"] = 1
        changed["categories"] = changed["categories"][:2]
        changed["annotations"].append({**changed["annotations"][0], "id": 9, "category_id": 9})
        found = [result for result in results() if result["category_id"] == 7]
        accuracy = evaluate_boxes(changed, found, backend=backend)
        assert accuracy.metrics["AP"] == pytest.approx(100)

    def test_ids_of_images_may_be_strings(self, backend):
        """As mmdet's CocoMetric takes them; an annotation of no listed image is left out."""
        named, found = truth(), results(0.5)
        named["images"] = [{"id": 1}, {"id": "b/2"}]
        for box in [*named["annotations"], *found]:
            box["image_id"] = {1: 1, 2: "b/2"}[box["image_id"]]
        expected = evaluate_boxes(truth(), results(0.5), backend=backend)
        assert evaluate_boxes(named, found, backend=backend) == expected
        named["annotations"].append({**named["annotations"][0], "image_id": "elsewhere"})
        assert evaluate_boxes(named, found, backend=backend) == expected
        found[0]["image_id"] = "c"
        with pytest.raises(UserError, match=r"image_id 'c', .* \(2 known, such as \[1, 'b/2'\]\)"):
            evaluate_boxes(named, found, backend=backend)

    def test_arguments_are_left_as_they_were(self, backend):
        given, found = truth(), results()
        before = copy.deepcopy((given, found))
        evaluate_boxes(given, found, backend=backend)
        assert (given, found) == before


def test_files_are_read(tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps(truth()))
    (tmp_path / "found.json").write_text(json.dumps(results()))
    accuracy = evaluate_boxes(tmp_path / "truth.json", str(tmp_path / "found.json"))
    assert accuracy.metrics["AP"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_id": 5}, r"result 0 has image_id 5, .* made on this split\?"),
        ({"category_id": 1}, "result 0 has category_id 1"),
    ],
)
def test_results_of_another_split_are_refused(change, said):
    with pytest.raises(UserError, match=said):
        evaluate_boxes(truth(), [{**results()[0], **change}])


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text("{")
    with pytest.raises(UserError, match=r"truth.json: expected COCO JSON"):
        evaluate_boxes(path, [])
    with pytest.raises(UserError, match=r"\['annotations', 'categories'\] are missing"):
        evaluate_boxes({"images": []}, [])
    with pytest.raises(UserError, match="result 0 has no 'score'"):
        evaluate_boxes(truth(), [{"bbox": [0, 0, 1, 1], "image_id": 1, "category_id": 3}])
    with pytest.raises(UserError, match="expected one of"):
        evaluate_boxes(truth(), [], backend="detectron")


@pytest.fixture(scope="module")
def published() -> Path:
    if not REAL_DATA:
        pytest.skip("needs KD3D_REAL_DATA, a folder with coco_eval/")
    return Path(REAL_DATA) / "coco_eval"


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_published_table_is_reproduced(published, backend):
    table = (published / "val2014_fake_eval_res.txt").read_text().partition("type=bbox")[2]
    expected = [float(value) for value in re.findall(r"\(AP\).*= ([\d.]+)", table)[:6]]
    accuracy = evaluate_boxes(
        published / "instances_val2014_100.json",
        published / "instances_val2014_fakebbox100_results.json",
        backend=backend,
    )
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    assert [round(accuracy.metrics[name] / 100, 3) for name in names] == expected
    assert expected[0] == 0.505


def test_the_backends_agree_value_by_value(published):
    files = (
        published / "instances_val2014_100.json",
        published / "instances_val2014_fakebbox100_results.json",
    )
    fast, reference = (evaluate_boxes(*files, backend=backend) for backend in BACKENDS)
    assert fast.metrics == pytest.approx(reference.metrics, abs=1e-9)
    assert len(reference.per_class) == 80
    for name, values in reference.per_class.items():
        assert fast.per_class[name] == pytest.approx(values, abs=1e-9)
