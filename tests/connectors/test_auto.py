import re

import pytest
import torch

from kd3d.connectors import Conv1x1, Conv1x1Resize, Linear, Resize, connector_for
from kd3d.errors import UserError
from kd3d.registry import CONNECTORS

JOINED = [
    ((2, 8, 4, 4), (2, 16, 4, 4), Conv1x1),
    ((2, 8, 4, 4), (2, 8, 2, 6), Resize),
    ((2, 8, 4, 4), (2, 16, 2, 6), Conv1x1Resize),
    ((2, 10, 8), (2, 10, 16), Linear),
]


@pytest.mark.parametrize(("student_shape", "teacher_shape", "kind"), JOINED)
def test_what_is_chosen_joins_the_shapes(student_shape, teacher_shape, kind):
    connector = connector_for(student_shape, teacher_shape)
    assert type(connector) is kind
    assert connector(torch.randn(student_shape), torch.empty(teacher_shape)).shape == teacher_shape


def test_every_registered_connector_is_chosen_somewhere():
    assert set(CONNECTORS.module_dict.values()) == {kind for _, _, kind in JOINED}


@pytest.mark.parametrize("shape", [(2, 8, 4, 4), (2, 10, 8), (2, 8), (2,)])
def test_equal_shapes_need_none(shape):
    assert connector_for(torch.Size(shape), shape) is None


REFUSED = [
    ((2, 80), (2, 3), 'connector=dict(type="Linear", in_channels=80, out_channels=3),'),
    ((4, 8, 4, 4), (2, 8, 4, 4), 'student="neck", teacher="neck",'),
    ((4, 10, 8), (2, 10, 16), 'connector=dict(type="YourConnector"),'),
    ((2, 10, 8), (2, 20, 16), 'connector=dict(type="YourConnector"),'),
    ((2, 10, 8), (2, 8, 4, 4), 'connector=dict(type="YourConnector"),'),
    ((2, 8, 4, 4, 4), (2, 8, 2, 4, 4), 'connector=dict(type="YourConnector"),'),
    ((), (2, 8), 'connector=dict(type="YourConnector"),'),
]


@pytest.mark.parametrize(("student_shape", "teacher_shape", "line"), REFUSED)
def test_other_shapes_are_refused_with_both_shapes_and_the_lines(
    student_shape, teacher_shape, line
):
    expected = f"student {student_shape} and teacher {teacher_shape}; "
    with pytest.raises(UserError, match=re.escape(expected)) as caught:
        connector_for(student_shape, teacher_shape)
    assert str(caught.value).endswith(f"\n    {line}")


def test_the_advised_line_joins_them():
    advised = CONNECTORS.build({"type": "Linear", "in_channels": 80, "out_channels": 3})
    assert advised(torch.randn(2, 80), torch.empty(2, 3)).shape == (2, 3)
