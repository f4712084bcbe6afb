import copy

import pytest
import torch

import kd3d.connectors  # noqa: F401  (registers them)
from kd3d.registry import CONNECTORS

SHAPES = {"Conv1x1": ((2, 3, 4, 5), (2, 6, 4, 5)), "Linear": ((2, 7, 3), (2, 7, 6))}
every_layer = pytest.mark.parametrize("name", SHAPES)


def build(name, in_channels=3, out_channels=6):
    torch.manual_seed(0)
    return CONNECTORS.build(
        {"type": name, "in_channels": in_channels, "out_channels": out_channels}
    )


def set_to(connector, weight, bias):
    with torch.no_grad():
        connector.projection.weight.copy_(torch.tensor(weight).view_as(connector.projection.weight))
        connector.projection.bias.copy_(torch.tensor(bias))


def test_conv1x1_by_hand():
    connector = build("Conv1x1", 2, 1)
    set_to(connector, [2.0, -3.0], [10.0])
    student = torch.tensor([[1.0, 4.0], [5.0, 6.0]]).view(1, 2, 1, 2)
    received = connector(student, torch.zeros(1, 1, 1, 2))
    assert received.flatten().tolist() == [2 * 1 - 3 * 5 + 10, 2 * 4 - 3 * 6 + 10]


def test_linear_by_hand():
    connector = build("Linear", 2, 1)
    set_to(connector, [2.0, -3.0], [10.0])
    student = torch.tensor([[[1.0, 5.0], [4.0, 6.0]]])  # two tokens
    received = connector(student, torch.zeros(1, 2, 1))
    assert received.shape == (1, 2, 1)
    assert received.flatten().tolist() == [2 * 1 - 3 * 5 + 10, 2 * 4 - 3 * 6 + 10]


@every_layer
def test_starts_with_the_variance_of_its_input(name):
    connector = build(name, 256, 512)
    shape = (1, 256, 8, 8) if name == "Conv1x1" else (1, 64, 256)
    with torch.no_grad():
        received = connector(torch.randn(shape), torch.empty(0))
    assert received.std().item() == pytest.approx(1.0, abs=0.05)
    assert connector.projection.bias.abs().sum() == 0


@every_layer
def test_works_under_bf16_autocast_and_trains(name):
    student_shape, teacher_shape = SHAPES[name]
    connector = build(name)
    student = torch.randn(student_shape, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        received = connector(student, torch.empty(teacher_shape))
    assert received.shape == teacher_shape
    assert received.dtype == torch.bfloat16
    received.float().square().sum().backward()
    gradients = [student.grad, *(parameter.grad for parameter in connector.parameters())]
    assert all(torch.isfinite(g).all() and g.abs().sum() > 0 for g in gradients)


@every_layer
def test_deep_copies_after_use(name):
    student_shape, teacher_shape = SHAPES[name]
    connector = build(name)
    student, teacher = torch.randn(student_shape), torch.empty(teacher_shape)
    expected = connector(student, teacher)
    torch.testing.assert_close(copy.deepcopy(connector)(student, teacher), expected)
