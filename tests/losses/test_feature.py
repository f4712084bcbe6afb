import math

import pytest
import torch

from kd3d.losses import FeatureAttention, feature_attention, feature_l2


def test_feature_l2_of_two_elements():
    student, teacher = torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 4.0]])
    assert feature_l2(student, teacher).item() == pytest.approx((2**2 + 1**2) / 2)


def test_feature_l2_of_nothing_is_zero_with_a_gradient():
    student = torch.zeros(0, 4, requires_grad=True)
    value = feature_l2(student, torch.zeros(0, 4))
    value.backward()
    assert value.item() == 0


def test_feature_attention_of_one_position():
    student = torch.tensor([2 * math.log(3.0), 0.0]).view(1, 2, 1, 1)  # mean log 3: sigmoid 3/4
    teacher = torch.zeros(1, 2, 1, 1)  # sigmoid 1/2
    l2 = (2 * math.log(3.0)) ** 2 / 2
    expected = 0.25 * l2 + 0.75 * (3 / 4 - 1 / 2) ** 2
    assert feature_attention(student, teacher, alpha=0.25).item() == pytest.approx(expected)


def test_alpha_one_is_l2():
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(
        feature_attention(student, teacher, alpha=1.0), feature_l2(student, teacher)
    )


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_alpha_outside_its_range_is_refused(alpha):
    with pytest.raises(ValueError, match=r"alpha in \[0, 1\]"):
        FeatureAttention(alpha=alpha)


def test_a_vector_is_no_map():
    with pytest.raises(ValueError, match=r"feature map \(B, C, H, W\), got \(2, 3\)"):
        feature_attention(torch.zeros(2, 3), torch.zeros(2, 3))
