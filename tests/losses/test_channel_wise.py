import math

import pytest
import torch

from kd3d.losses import channel_wise_divergence


def test_two_cells():
    student = torch.tensor([0.0, math.log(3.0)]).view(1, 1, 1, 2)  # softmax: 1/4, 3/4
    teacher = torch.zeros(1, 1, 1, 2)  # softmax: 1/2, 1/2
    expected = math.log(2 / math.sqrt(3))  # 1/2 log 2 + 1/2 log 2/3
    assert channel_wise_divergence(student, teacher).item() == pytest.approx(expected)


def test_temperature_softens_and_scales_by_its_square():
    student = torch.tensor([0.0, 2 * math.log(3.0)]).view(1, 1, 1, 2)
    expected = 4 * math.log(2 / math.sqrt(3))
    received = channel_wise_divergence(student, torch.zeros(1, 1, 1, 2), temperature=2.0)
    assert received.item() == pytest.approx(expected)


def test_level_of_a_channel_does_not_matter():
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    level = torch.randn(2, 3, 1, 1)
    torch.testing.assert_close(
        channel_wise_divergence(student + level, teacher - level),
        channel_wise_divergence(student, teacher),
    )
