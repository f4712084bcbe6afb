"""Subsets of a COCO json of ten images, image i with i annotations."""

import json

import pytest

from kd3d.datasets.subset import read_coco, subset_of_coco
from kd3d.errors import UserError


@pytest.fixture
def coco():
    images = [{"id": 100 + place, "file_name": f"{place}.jpg"} for place in range(10)]
    annotations = [
        {"id": 10 * place + number, "image_id": 100 + place}
        for place in range(10)
        for number in range(place)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "car"}]}


def test_size_and_annotations(coco):
    part = subset_of_coco(coco, 4)
    ids = [image["id"] for image in part["images"]]
    assert len(set(ids)) == 4
    assert ids == sorted(ids)
    assert len(part["annotations"]) == sum(identity - 100 for identity in ids)
    assert {entry["image_id"] for entry in part["annotations"]} <= set(ids)
    assert part["categories"] == coco["categories"]
    assert len(coco["images"]) == 10  # the whole set is as it was


def test_seed_decides(coco):
    assert subset_of_coco(coco, 4, seed=1) == subset_of_coco(coco, 4, seed=1)
    assert subset_of_coco(coco, 4, seed=1) != subset_of_coco(coco, 4, seed=2)


def test_smaller_subset_is_part_of_larger(coco):
    small, large = (
        {image["id"] for image in subset_of_coco(coco, size)["images"]} for size in (3, 7)
    )
    assert small < large


@pytest.mark.parametrize("images", [0, 11])
def test_impossible_sizes(coco, images):
    with pytest.raises(UserError, match=f"between 1 and 10 images, got {images}"):
        subset_of_coco(coco, images)


@pytest.mark.parametrize("text", ["{", "[]", '{"images": []}'])
def test_files_that_are_no_coco(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match="expected a COCO json"):
        read_coco(path)


def test_command(coco, tmp_path, run_tool):
    whole, part = tmp_path / "whole.json", tmp_path / "part.json"
    whole.write_text(json.dumps(coco))
    run_tool("datasets/coco_subset.py", whole, "--fraction", "0.25", "--out", part)
    assert len(json.loads(part.read_text())["images"]) == 2  # round(2.5) to the even neighbour
    code, message = run_tool("datasets/coco_subset.py", whole, "--images", "3", "--out", part)
    assert (code, "--force" in message) == (2, True)


def test_a_set_without_images(coco):
    with pytest.raises(UserError, match="no images to choose from"):
        subset_of_coco({**coco, "images": []}, 1)


def test_the_whole_set_is_never_replaced(coco, tmp_path, run_tool):
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps(coco))
    out = tmp_path / "." / "whole.json"
    code, message = run_tool(
        "datasets/coco_subset.py", whole, "--images", 3, "--out", out, "--force"
    )
    assert code == 2
    assert "is the whole set itself" in message
    assert json.loads(whole.read_text()) == coco


@pytest.mark.parametrize("fraction", ["0", "1.5"])
def test_command_refuses_fractions(coco, tmp_path, run_tool, fraction):
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps(coco))
    arguments = ("--fraction", fraction, "--out", tmp_path / "part.json")
    code, message = run_tool("datasets/coco_subset.py", whole, *arguments)
    assert code == 2
    assert message == f"error: expected --fraction in (0, 1], got {float(fraction)}\n"
