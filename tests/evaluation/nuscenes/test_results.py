"""Results files, good and bad: the devkit's verdict on each, with a message of ours."""

import json
import math

import numpy as np
import nuscenes_tables
import pytest

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes import (
    CVPR_2019,
    evaluate,
    load_ground_truth,
    read_results,
    write_results,
)

SPLITS = {"mini_val": ["scene-0103", "scene-0916"], **nuscenes_tables.CUSTOM}


@pytest.fixture(scope="module")
def data():
    return nuscenes_tables.random_data_set(3)


@pytest.fixture(scope="module")
def dataroot(data, tmp_path_factory):
    return data.write(tmp_path_factory.mktemp("nuscenes"))


def good_results(data, split: str = "mini_val") -> dict:
    """Every object found, so that every box is matched and looked at."""
    results = {}
    for token in data.tokens(SPLITS[split]):
        results[token] = [
            {
                "sample_token": token,
                "translation": row["translation"],
                "size": row["size"],
                "rotation": row["rotation"],
                "velocity": [0.5, 0.25],
                "detection_name": nuscenes_tables.CLASS_OF_CATEGORY[category],
                "detection_score": 0.5,
                "attribute_name": "",
            }
            for category, row in data.annotations(token)
            if category in nuscenes_tables.CLASS_OF_CATEGORY
        ]
    return {"meta": {"use_lidar": True}, "results": results}


def first_box(content: dict) -> dict:
    """A box that counts: of a car near the vehicle, seen by a sensor."""
    return next(b for boxes in content["results"].values() for b in boxes)


def scores(dataroot, split: str, path) -> tuple:
    truth = load_ground_truth(dataroot, "v1.0-mini", split)
    found = read_results(path, truth, split=split, protocol=CVPR_2019)
    result = evaluate(truth, found.boxes, CVPR_2019, matched_in=found.matched_in)
    return result.nds, result.mean_ap, result.tp_errors


def devkit_scores(dataroot, split: str, path) -> tuple:
    metrics, _ = nuscenes_tables.devkit_answer(dataroot, "v1.0-mini", split, path)
    return metrics.nd_score, metrics.mean_ap, metrics.tp_errors


def change_all(content: dict, **entries) -> None:
    for boxes in content["results"].values():
        for box in boxes:
            box.update(entries)


def remove(content: dict, entry: str) -> None:
    first_box(content).pop(entry)


def too_many(content: dict) -> None:
    token = next(token for token, boxes in content["results"].items() if boxes)
    content["results"][token] = content["results"][token][:1] * 501


def half_with_negative_scores(content: dict) -> None:
    """Scores fall to -0.5 and rise to 0 where no recall was reached."""
    change_all(content, detection_score=-0.5)
    for token, boxes in content["results"].items():
        content["results"][token] = boxes[::2]


def drop_sample(content: dict) -> None:
    content["results"].popitem()


BAD = {  # what is changed in the parsed file, and what our message says
    "no meta": (lambda c: c.pop("meta"), r"entries 'meta' and 'results', got \['results'\]"),
    "no results": (lambda c: c.pop("results"), "entries 'meta' and 'results'"),
    "list": (lambda c: c.update(results=[1]), "expected 'results' to be an object"),
    "missing sample": (drop_sample, "expected the 8 samples of split mini_val, but 1 are missing"),
    "extra sample": (lambda c: c["results"].update(x=[]), "1 are not in the split"),
    "501 boxes": (too_many, "501 boxes, but nuScenes allows 500 a sample"),
    "no boxes at all": (
        lambda c: c.update(results={key: [] for key in c["results"]}),
        "without boxes",
    ),
    "boxes no list": (
        lambda c: c["results"].update({next(iter(c["results"])): 7}),
        "a list of boxes",
    ),
    "box no object": (
        lambda c: next(b for b in c["results"].values() if b).append([1]),
        "an object",
    ),
    "NaN centre": (
        lambda c: first_box(c)["translation"].__setitem__(1, math.nan),
        "translation is",
    ),
    "NaN size": (lambda c: first_box(c)["size"].__setitem__(1, math.nan), "none of them NaN"),
    "NaN rotation": (lambda c: first_box(c).update(rotation=[math.nan] * 4), "rotation is"),
    "NaN score": (
        lambda c: first_box(c).update(detection_score=math.nan),
        "detection_score is nan",
    ),
    "two numbers": (lambda c: first_box(c).update(translation=[1, 2]), "expected 3 numbers"),
    "text for numbers": (lambda c: first_box(c).update(size=["1", "2", "3"]), "size is"),
    "nested": (lambda c: first_box(c).update(translation=[[1], [2], [3]]), "translation is"),
    "null velocity": (
        lambda c: change_all(c, velocity=None),
        "velocity is None; expected 2 numbers",
    ),
    "null velocities": (lambda c: change_all(c, velocity=[None, None]), "velocity is"),
    "null score": (lambda c: first_box(c).update(detection_score=None), "detection_score is None"),
    "unknown class": (lambda c: first_box(c).update(detection_name="tram"), "expected one of"),
    "null class": (lambda c: first_box(c).update(detection_name=None), "detection_name is None"),
    "wrong attribute": (lambda c: first_box(c).update(attribute_name="red"), "attribute_name is"),
    "null attribute": (
        lambda c: first_box(c).update(attribute_name=None),
        "attribute_name is None",
    ),
    "no attribute": (lambda c: remove(c, "attribute_name"), "'attribute_name' is missing"),
    "no sample": (lambda c: remove(c, "sample_token"), "'sample_token' is missing"),
    "no size": (lambda c: remove(c, "size"), "'size' is missing"),
    "sample no text": (lambda c: first_box(c).update(sample_token=7), "sample_token is 7"),
    "negative size": (lambda c: change_all(c, size=[1, -1, 1]), "matched prediction has size"),
    "zero size": (lambda c: change_all(c, size=[0, 1, 1]), "expected all above 0"),
    "negative scores": (half_with_negative_scores, "scores run from -0.5 to -0.5"),
    "NaN ego": (lambda c: first_box(c).update(ego_translation=[math.nan, 0, 0]), "ego_translation"),
    "null points": (lambda c: first_box(c).update(num_pts=None), "num_pts is None"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_as_by_the_devkit(name, data, dataroot, tmp_path):
    change, message = BAD[name]
    content = json.loads(json.dumps(good_results(data)))
    change(content)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    # whatever it raises: assertions, KeyError, TypeError, plain Exception
    with pytest.raises(Exception), np.errstate(all="ignore"):  # noqa: B017, PT011
        devkit_scores(dataroot, "mini_val", path)
    with pytest.raises(UserError, match=message):
        scores(dataroot, "mini_val", path)


@pytest.mark.parametrize("text", ["", "{", '{"meta": {}, "results": {]}', "3", "[]", '"results"'])
def test_broken_json_is_refused(text, dataroot, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(Exception):  # noqa: B017, PT011
        devkit_scores(dataroot, "mini_val", path)
    with pytest.raises(UserError, match=r"results\.json: expected"):
        scores(dataroot, "mini_val", path)


def name_another_sample(content: dict) -> None:
    """The devkit filters by the one name and matches by the other."""
    tokens = [token for token, boxes in content["results"].items() if boxes]
    for token, other in zip(tokens, [*tokens[1:], "nowhere"], strict=True):
        for box in content["results"][token][::2]:
            box["sample_token"] = other


def far_negative_size(content: dict) -> None:
    box = first_box(content)
    box["translation"] = [box["translation"][0] + 20, *box["translation"][1:]]
    box["size"] = [-1, -1, -1]


GOOD = {
    "as it is": lambda c: None,
    "no scores": lambda c: [b.pop("detection_score") for s in c["results"].values() for b in s],
    "infinite scores": lambda c: change_all(c, detection_score=math.inf),
    "negative scores, all found": lambda c: change_all(c, detection_score=-0.5),
    "NaN velocities": lambda c: change_all(c, velocity=[math.nan, math.nan]),
    "whole numbers": lambda c: first_box(c).update(translation=[1, 2, 3], rotation=[2, 0, 0, 1]),
    "truth for numbers": lambda c: first_box(c).update(rotation=[True, False, False, True]),
    "score as text": lambda c: first_box(c).update(detection_score="0.25"),
    "zero rotation": lambda c: change_all(c, rotation=[0, 0, 0, 0]),
    "infinite velocity": lambda c: change_all(c, velocity=[math.inf, 0]),
    "points of predictions": lambda c: first_box(c).update(num_pts="0"),
    "own ego": lambda c: change_all(c, ego_translation=[1, 2, 3]),
    "another sample": name_another_sample,
    "unmatched negative size": far_negative_size,
    "unknown entry": lambda c: change_all(c, tracking_id="7"),
}


@pytest.mark.parametrize("name", GOOD)
def test_accepted_as_by_the_devkit(name, data, dataroot, tmp_path):
    content = json.loads(json.dumps(good_results(data)))
    GOOD[name](content)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    with np.errstate(all="ignore"):
        assert scores(dataroot, "mini_val", path) == devkit_scores(dataroot, "mini_val", path)


def test_a_custom_split_takes_what_it_needs(data, dataroot, tmp_path):
    content = good_results(data, "our_val")
    content["results"] = {"elsewhere": "anything", **content["results"]}
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    assert scores(dataroot, "our_val", path) == devkit_scores(dataroot, "our_val", path)


@pytest.mark.parametrize("split", ["mini_val", "our_val"])
def test_written_and_read_again(split, data, dataroot, tmp_path):
    path = tmp_path / "results.json"
    tokens = data.tokens(SPLITS[split])
    path.write_text(json.dumps(nuscenes_tables.random_results(data, tokens, 5)))
    truth = load_ground_truth(dataroot, "v1.0-mini", split)
    before = read_results(path, truth, split=split, protocol=CVPR_2019).boxes
    before = before[before.points != 0]  # point counts are not written
    again = write_results(tmp_path / "again.json", before, truth.tokens, meta={})
    after = read_results(again, truth, split=split, protocol=CVPR_2019).boxes
    for name in ("frame", "label", "center_m", "size_m", "rotation", "velocity", "score"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    np.testing.assert_array_equal(before.attribute, after.attribute)
