"""KITTI to COCO from label lines written here, with boxes worked out by hand."""

import json
from pathlib import Path

import pytest
from PIL import Image

from kd3d.datasets.kitti import CATEGORIES, coco_from_kitti, parse_frames, read_labels
from kd3d.errors import UserError

TAIL = "1.5 1.6 4.0 1.0 1.6 20.0 0.1"  # size, place and turn in 3D, which 2D boxes do not need
LABELS = "\n".join(
    [
        f"Car 0 0 0.1 10.5 20.0 50.5 40.0 {TAIL}",
        f"Cyclist 0.2 1 0.1 90.0 30.0 104.0 45.0 {TAIL}",  # image is 100 wide: 4 px are cut off
        f"Truck 0 0 0.1 0.0 0.0 10.0 10.0 {TAIL}",
        f"Person_sitting 0 0 0.1 60.0 30.0 66.0 44.0 {TAIL}",
        "DontCare -1 -1 -10 70.0 5.0 80.0 15.0 -1000 -1000 -1000 -10 -1 -1 -1",
    ]
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("image_2", "label_2"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (100, 50)).save(tmp_path / "image_2" / "000007.png")
    (tmp_path / "label_2" / "000007.txt").write_text(LABELS + "\n")
    return tmp_path


def test_boxes_of_road_users(root):
    coco = coco_from_kitti(root, [7])
    assert coco["images"] == [{"id": 7, "file_name": "000007.png", "width": 100, "height": 50}]
    assert [category["name"] for category in coco["categories"]] == list(CATEGORIES)
    car, cyclist = (entry for entry in coco["annotations"] if not entry["iscrowd"])
    assert car["bbox"] == [10.5, 20.0, 50.5 - 10.5, 40.0 - 20.0]
    assert (car["category_id"], car["area"]) == (1, 40.0 * 20.0)
    assert cyclist["bbox"] == [90.0, 30.0, 100.0 - 90.0, 45.0 - 30.0]
    assert cyclist["category_id"] == 3


def test_regions_to_ignore(root):
    ignored = [entry for entry in coco_from_kitti(root, [7])["annotations"] if entry["iscrowd"]]
    regions = [(entry["category_id"], entry["bbox"]) for entry in ignored]
    sitting, dont_care = [60.0, 30.0, 6.0, 14.0], [70.0, 5.0, 10.0, 10.0]
    assert regions == [(4, sitting), *((category, dont_care) for category in (1, 2, 3, 4))]


def test_ids_are_unique(root):
    coco = coco_from_kitti(root, [7])
    assert [entry["id"] for entry in coco["annotations"]] == list(range(1, 1 + 2 + 1 + 4))


def test_jpeg_frames_are_found(root):
    Image.new("RGB", (30, 20)).save(root / "image_2" / "000008.jpg")
    (root / "label_2" / "000008.txt").write_text("")
    coco = coco_from_kitti(root, [8])
    assert coco["images"][0]["file_name"] == "000008.jpg"
    assert coco["annotations"] == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Car 0 0 0.1 10 20 50", r"000007.txt:1: expected 15 fields of a KITTI label, got 7"),
        (f"Horse 0 0 0.1 10 20 50 40 {TAIL}", "unknown type 'Horse'"),
        (f"Car 0 0 0.1 10 20 wide 40 {TAIL}", "expected four numbers"),
        (f"Car 0 0 0.1 50 20 10 40 {TAIL}", "left <= right"),
    ],
)
def test_malformed_labels_are_refused(root, line, message):
    path = root / "label_2" / "000007.txt"
    path.write_text(line)
    with pytest.raises(UserError, match=message):
        read_labels(path)


def test_missing_files_are_named(root):
    with pytest.raises(UserError, match=r"image_2.000009"):
        coco_from_kitti(root, [9])
    Image.new("RGB", (30, 20)).save(root / "image_2" / "000009.png")
    with pytest.raises(UserError, match=r"000009.txt: no such file, but frame 9"):
        coco_from_kitti(root, [9])


def test_frames_from_ranges_and_files(tmp_path):
    assert parse_frames("0-3,7,9-10") == [0, 1, 2, 3, 7, 9, 10]
    split = tmp_path / "train.txt"
    split.write_text("000003\n000005\n")
    assert parse_frames(str(split)) == [3, 5]


@pytest.mark.parametrize("text", ["", "train.txt", "5-", "-5", "3-1", "1,1-2"])
def test_frames_that_are_none(text):
    with pytest.raises(UserError, match=f"frames '{text}'"):
        parse_frames(text)


def test_command_converts_and_does_not_overwrite(root, tmp_path, run_tool):
    out = tmp_path / "out"
    run_tool("datasets/kitti_to_coco.py", root, "--out", out, "--train", "7")
    coco = json.loads((out / "annotations" / "instances_train.json").read_text())
    assert len(coco["annotations"]) == 7
    code, message = run_tool("datasets/kitti_to_coco.py", root, "--out", out, "--train", "7")
    assert (code, message.count("\n")) == (2, 1)
    assert "--force" in message


def test_command_writes_nothing_when_one_split_is_wrong(root, tmp_path, run_tool):
    out = tmp_path / "out"
    arguments = ("--out", out, "--train", "7", "--val", "8")
    code, message = run_tool("datasets/kitti_to_coco.py", root, *arguments)
    assert (code, out.exists()) == (2, False)
    assert message.startswith("error: ")
