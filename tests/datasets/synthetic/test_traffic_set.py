"""The files of a set: complete, not made twice, completed after an interruption."""

import json
from pathlib import Path

import pytest

from kd3d.datasets.synthetic.traffic_scenes import CATEGORIES, render_scene
from kd3d.datasets.synthetic.traffic_set import TrafficSet, annotation_file, make_traffic_set
from kd3d.errors import UserError

SMALL = TrafficSet(seed=2, train=3, val=2, test=1, width=96, height=64)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole")
    assert make_traffic_set(out, SMALL)
    return contents(out)


def test_files_of_a_set(whole):
    assert len(whole) == 3 + 2 + 1 + 3 + 1  # images, annotations, settings
    coco = json.loads(whole["annotations/instances_train.json"])
    assert [category["name"] for category in coco["categories"]] == list(CATEGORIES)
    assert [image["file_name"] for image in coco["images"]] == [f"{i:06d}.jpg" for i in range(3)]
    _, labels = render_scene(2, 1, size=(96, 64))
    boxes = [entry["bbox"] for entry in coco["annotations"] if entry["image_id"] == 1]
    assert boxes == [
        [x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in (label.box_px for label in labels)
    ]


def test_splits_share_no_scene(whole):
    images = [data for name, data in whole.items() if name.endswith(".jpg")]
    assert len(set(images)) == len(images) == 6


def test_complete_set_is_not_made_again(tmp_path, monkeypatch):
    make_traffic_set(tmp_path, SMALL)
    monkeypatch.setattr("kd3d.datasets.synthetic.traffic_set.render_scene", None)
    assert not make_traffic_set(tmp_path, SMALL)


def test_interrupted_set_is_completed(tmp_path, whole):
    def interrupt(split: str, done: int, total: int) -> None:
        if (split, done) == ("val", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_traffic_set(tmp_path, SMALL, progress=interrupt)
    assert annotation_file(tmp_path, "train").is_file()
    assert not annotation_file(tmp_path, "val").exists()
    made = []
    assert make_traffic_set(tmp_path, SMALL, progress=lambda split, *_: made.append(split))
    assert made == ["val", "val", "test"]  # train was whole
    assert contents(tmp_path) == whole


def test_lost_image_is_made_again(tmp_path, whole):
    make_traffic_set(tmp_path, SMALL)
    (tmp_path / "images" / "val" / "000001.jpg").unlink()
    assert make_traffic_set(tmp_path, SMALL)
    assert contents(tmp_path) == whole


def test_set_of_other_settings_is_kept(tmp_path):
    make_traffic_set(tmp_path, SMALL)
    other = TrafficSet(seed=9, train=1, val=1, test=1, width=96, height=64)
    before = contents(tmp_path)
    with pytest.raises(UserError, match="--force"):
        make_traffic_set(tmp_path, other)
    assert contents(tmp_path) == before
    assert make_traffic_set(tmp_path, other, overwrite=True)
    assert len(json.loads(annotation_file(tmp_path, "train").read_text())["images"]) == 1


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("annotations/instances_train.json", "{}", "is missing"),  # a set of the user's own
        ("set.json", '{"scenes": 1, "keyframes": 2}', "is of another"),  # a driving world
    ],
)
def test_a_folder_of_other_files_is_left_alone(tmp_path, name, content, why):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    for overwrite in (False, True):
        with pytest.raises(UserError, match=rf"no set of this tool \(set\.json {why}\)"):
            make_traffic_set(tmp_path, SMALL, overwrite=overwrite)
    assert contents(tmp_path) == {name: content.encode()}


def test_impossible_sets_are_refused(tmp_path):
    for settings, says in ((TrafficSet(val=0), "at least one"), (TrafficSet(seed=-1), "0 or more")):
        with pytest.raises(UserError, match=says):
            make_traffic_set(tmp_path, settings)
    assert contents(tmp_path) == {}


def test_command(tmp_path, run_tool):
    counts = ("--train", 1, "--val", 1, "--test", 1)
    code, progress = run_tool("datasets/make_traffic_scenes.py", "--out", tmp_path, *counts)
    assert code == 0
    assert "train" in progress
    assert "1/1" in progress
    code, message = run_tool(
        "datasets/make_traffic_scenes.py", "--out", tmp_path, *counts, "--seed", 1
    )
    assert (code, message.startswith("error: ")) == (2, True)
