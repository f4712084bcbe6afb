import json
import shutil

import pytest

from kd3d.report.record import find_records
from kd3d.report.samples import iou, match_boxes, sample_pictures
from kd3d.report.summary import summarize


def test_iou_of_hand_made_boxes():
    assert iou([0, 0, 4, 4], [0, 0, 4, 4]) == 1
    assert iou([0, 0, 4, 4], [2, 2, 4, 4]) == pytest.approx(4 / (16 + 16 - 4))
    assert iou([0, 0, 4, 4], [4, 0, 4, 4]) == 0
    assert iou([0, 0, 0, 0], [0, 0, 0, 0]) == 0


def test_each_object_is_given_to_one_box_of_its_category():
    objects = [
        {"category_id": 1, "bbox": [0, 0, 10, 10]},
        {"category_id": 2, "bbox": [50, 50, 10, 10]},
    ]
    near, sure, other = (
        {"category_id": 1, "bbox": [0, 0, 10, 9], "score": 0.8},
        {"category_id": 1, "bbox": [0, 0, 10, 8], "score": 0.9},  # first, by its score
        {"category_id": 1, "bbox": [50, 50, 10, 10], "score": 0.7},  # the wrong category
    )
    match = match_boxes(objects, [near, sure, other])
    assert match.found == [sure]
    assert match.false == [near, other]
    assert match.missed == [objects[1]]


def test_six_images_with_four_panels_that_share_their_pixels(tmp_path, make_work_dir):
    pictures, missing = sample_pictures(summarize(find_records(make_work_dir(tmp_path))))
    assert missing == ""
    assert len(pictures) == 6
    assert all(p.count("data:image/jpeg;base64,") == 1 for p in pictures)
    assert all(p.count("<use ") == 4 for p in pictures)
    # image 0 has objects 0, 1, 2; the teacher lacks every 11th of all objects, so object 0
    assert "ground truth: 3 objects" in pictures[0]
    assert "teacher: 2 of 3 found, 1 false" in pictures[0]


def test_what_is_missing_is_said(tmp_path, make_work_dir):
    work = make_work_dir(tmp_path)
    summary = summarize(find_records(work))
    for image in (tmp_path / "data").glob("*.jpg"):
        image.unlink()
    assert sample_pictures(summary)[1].startswith("The images below")
    shutil.rmtree(tmp_path / "data")
    assert sample_pictures(summary)[1].startswith("The annotations")
    for predictions in work.rglob("predictions.bbox.json"):
        predictions.unlink()
    assert "tools/test.py CONFIG CHECKPOINT writes them" in sample_pictures(summary)[1]


def test_uncertain_boxes_are_not_drawn(tmp_path, make_work_dir):
    work = make_work_dir(tmp_path, ("teacher",))
    path = work / "teacher" / "predictions.bbox.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps([{**box, "score": 0.29} for box in found]))
    pictures, _ = sample_pictures(summarize(find_records(work)))
    assert "teacher: 0 of 3 found, 0 false" in pictures[0]
