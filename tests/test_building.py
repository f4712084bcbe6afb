import json
from pathlib import Path

import pytest
from mmengine.registry import Registry

from kd3d.building import building
from kd3d.errors import UserError

LAYERS = Registry("layer")
OURS = Registry("layer", parent=LAYERS, scope="ours")


@LAYERS.register_module()
class Stem:
    def __init__(self, width, inner=None):
        if width < 0:
            raise ValueError(f"expected a width above 0,\n  got {width}")
        if width == 0:
            raise AssertionError
        self.inner = OURS.build(inner) if inner else None


@OURS.register_module()
class Branch:
    def __init__(self, ann_file):
        json.loads(ann_file)


def refusal(config):
    with pytest.raises(UserError) as error, building("a.py"):
        OURS.build(config)
    text = str(error.value)
    assert text.startswith("config a.py: ")
    return text.removeprefix("config a.py: ")


@OURS.register_module()
class Frames:
    def __init__(self, ann_file="", weights=""):
        Path(ann_file or weights).read_bytes()


def test_a_data_set_that_is_not_there():
    text = refusal({"type": "Stem", "width": 1, "inner": {"type": "Frames", "ann_file": "x.pkl"}})
    assert text.startswith("x.pkl: no such file; make the data set or link it there, or change")
    with pytest.raises(FileNotFoundError), building("a.py"):  # no data set
        OURS.build({"type": "Frames", "weights": "x.pth"})


def test_an_unknown_type_and_the_near_ones_of_the_whole_family():
    assert refusal({"type": "Stemm"}) == "there is no layer type 'Stemm'; did you mean 'Stem'?"
    assert refusal({"type": "Brunch"}).endswith("did you mean 'Branch'?")
    assert refusal({"type": "Pool"}).endswith("; check its spelling")


def test_the_innermost_type_is_named():
    inner = {"type": "Branch", "wide": 3}
    text = refusal({"type": "Stem", "width": 1, "inner": inner})
    assert text.startswith("Branch cannot be built: ")
    assert "unexpected keyword argument 'wide'" in text


def test_a_value_that_a_constructor_refuses_is_shown_with_its_place():
    text = refusal({"type": "Stem", "width": -1})
    assert text.startswith(
        "Stem cannot be built: expected a width above 0, got -1 (test_building.py:"
    )


def test_an_error_without_text_is_quoted_from_its_line():
    text = refusal({"type": "Stem", "width": 0})
    assert text.startswith("Stem cannot be built: raise AssertionError (test_building.py:")


def test_an_annotation_file_that_is_no_json():
    text = refusal({"type": "Branch", "ann_file": "{"})
    assert text.startswith("Branch: { is cut off or no JSON (Expecting property name")


def test_errors_from_elsewhere_pass_through():
    with pytest.raises(KeyError), building("a.py"):
        _ = {}["key"]
    with pytest.raises(UserError, match=r"^mine$"), building("a.py"):
        raise UserError("mine")
