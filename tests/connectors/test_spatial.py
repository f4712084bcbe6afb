import copy

import pytest
import torch

from kd3d.connectors import Conv1x1Resize, Resize
from kd3d.registry import CONNECTORS


def test_resize_by_hand():
    student = torch.tensor([0.0, 4.0]).view(1, 1, 1, 2)
    larger = Resize()(student, torch.zeros(1, 9, 1, 4))  # centres at -1/4, 1/4, 3/4, 5/4
    assert larger.flatten().tolist() == [0.0, 1.0, 3.0, 4.0]
    smaller = Resize()(larger, torch.zeros(1, 9, 1, 2))  # means of neighbours
    assert smaller.flatten().tolist() == [(0 + 1) / 2, (3 + 4) / 2]


def test_resize_follows_the_teacher_from_call_to_call():
    resize, student = Resize(), torch.randn(2, 3, 8, 8)
    for size in ((4, 6), (16, 10), (8, 8)):
        assert resize(student, torch.empty(2, 7, *size)).shape == (2, 3, *size)
    assert torch.equal(resize(student, student), student)


def test_conv1x1_resize_by_hand():
    connector = CONNECTORS.build({"type": "Conv1x1Resize", "in_channels": 2, "out_channels": 1})
    with torch.no_grad():
        connector.channels.projection.weight.copy_(torch.tensor([1.0, 10.0]).view(1, 2, 1, 1))
    student = torch.tensor([[0.0, 4.0], [2.0, 2.0]]).view(1, 2, 1, 2)
    received = connector(student, torch.zeros(1, 1, 1, 4))
    assert received.flatten().tolist() == pytest.approx([20.0, 21.0, 23.0, 24.0])


def test_works_under_bf16_autocast_trains_and_deep_copies():
    connector = Conv1x1Resize(3, 6)
    student, teacher = torch.randn(2, 3, 4, 4, requires_grad=True), torch.empty(2, 6, 6, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        received = connector(student, teacher)
        copied = copy.deepcopy(connector)(student, teacher)
    assert received.shape == teacher.shape
    assert torch.equal(received, copied)
    received.float().square().sum().backward()
    gradients = [student.grad, *(parameter.grad for parameter in connector.parameters())]
    assert all(torch.isfinite(g).all() and g.abs().sum() > 0 for g in gradients)
