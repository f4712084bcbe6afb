"""Slips in a DistillHook's dict end in one message, before anything is built."""

import pytest
import toys

from kd3d.distill.hook import DistillHook
from kd3d.errors import UserError

TEACHER = {"config": "teacher.py", "checkpoint": "random"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"pairs": toys.neck_pair()},
            r"'distill': pairs is a list of dicts, .*; got dict \{'name'",
        ),
        ({"pairs": ["bev"]}, r"pairs is a list of dicts, .*; got 'bev' in it$"),
        ({"pairs": None}, "pairs is a list of dicts, .*; got NoneType None$"),
        ({"pairs": []}, "'distill': pairs is empty"),
        ({"name": 3}, "^DistillHook: name is 3, expected a text such as 'distill'$"),
        ({"name": ""}, "^DistillHook: name is ''"),
        ({"gradient_points": "x"}, "'distill': gradient_points is 'x', expected a whole number"),
        ({"gradient_points": -1}, "gradient_points is -1"),
        ({"gradient_points": True}, "gradient_points is True"),
        ({"teacher": "t.py"}, "'distill': teacher needs config and checkpoint .*; got 't.py'$"),
        ({"teacher": {"config": "t.py"}}, r"teacher needs config and .*; got \['config'\]$"),
        ({"teacher": {**TEACHER, "classes": 3}}, "teacher needs config and .*'classes'"),
    ],
)
def test_what_is_refused(changes, says):
    with pytest.raises(UserError, match=says):
        DistillHook(**{"teacher": TEACHER, "pairs": [toys.neck_pair()], **changes})


@pytest.mark.parametrize("points", [0, 3])
def test_what_is_taken(points):
    hook = DistillHook(TEACHER, (toys.neck_pair(),), gradient_points=points)
    assert (hook.name, hook.gradient_points) == ("distill", points)
