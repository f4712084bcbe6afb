import re

import pytest
import torch

from kd3d.bev_grid import BevGrid
from kd3d.connectors import BevAlign, Conv1x1, Conv1x1Resize, Linear, Resize, connector_for
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
    chosen = {kind for _, _, kind in JOINED} | {BevAlign}
    assert set(CONNECTORS.module_dict.values()) == chosen


def grid(half_m, rows, columns):
    return BevGrid(-half_m, -half_m, half_m, half_m, rows, columns)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ((8, grid(10, 4, 4)), (16, grid(10, 8, 8))),
        ((8, grid(10, 4, 4)), (8, grid(20, 4, 4))),  # equal shapes, other metres
    ],
)
def test_bev_maps_on_other_grids_are_joined_by_metres(student, teacher):
    shapes = [(2, channels, on.rows, on.columns) for channels, on in (student, teacher)]
    connector = connector_for(*shapes, student[1], teacher[1])
    assert type(connector) is BevAlign
    joined = connector(
        torch.randn(shapes[0]),
        torch.empty(shapes[1]),
        student_grid=student[1],
        teacher_grid=teacher[1],
    )
    assert joined.shape == shapes[1]


def test_bev_maps_on_one_grid_are_joined_as_images_are():
    one, same = grid(10, 4, 4), grid(10 + 1e-9, 4, 4)
    assert connector_for((2, 8, 4, 4), (2, 8, 4, 4), one, same) is None
    assert type(connector_for((2, 8, 4, 4), (2, 16, 4, 4), one, same)) is Conv1x1
    assert type(connector_for((2, 8, 4, 4), (2, 8, 8, 8), None, grid(10, 8, 8))) is Resize


def test_bev_maps_of_other_frames_are_refused():
    with pytest.raises(UserError, match="the first axis must be the same images"):
        connector_for((4, 8, 4, 4), (2, 8, 4, 4), grid(10, 4, 4), grid(20, 4, 4))


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
