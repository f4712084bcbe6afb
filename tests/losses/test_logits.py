import math

import pytest
import torch

from kd3d.losses import sigmoid_divergence, softmax_divergence
from kd3d.losses.logits import bernoulli_kl

LOG3 = math.log(3.0)
KL_HALF_FROM_QUARTER = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)


def test_softmax_of_two_classes():
    student, teacher = torch.tensor([[0.0, LOG3]]), torch.zeros(1, 2)  # 1/4 3/4 from 1/2 1/2
    assert softmax_divergence(student, teacher).item() == pytest.approx(KL_HALF_FROM_QUARTER)


def test_softmax_averages_over_positions_not_classes():
    student = torch.tensor([[0.0, LOG3]]).view(1, 2, 1, 1).repeat(1, 1, 2, 3)
    received = softmax_divergence(student, torch.zeros(1, 2, 2, 3))
    assert received.item() == pytest.approx(KL_HALF_FROM_QUARTER)


def test_softmax_class_axis_may_be_the_last():
    student, teacher = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    torch.testing.assert_close(
        softmax_divergence(student, teacher, class_axis=-1),
        softmax_divergence(student.mT, teacher.mT, class_axis=1),
    )


def test_softmax_ignores_what_is_added_to_all_classes():
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    torch.testing.assert_close(
        softmax_divergence(student + torch.randn(4, 1), teacher),
        softmax_divergence(student, teacher),
    )


@pytest.mark.parametrize("class_axis", [0, 2, -2, -3])
def test_softmax_refuses_an_axis_that_is_no_class_axis(class_axis):
    with pytest.raises(ValueError, match=rf"class_axis={class_axis} for logits \(2, 3\)"):
        softmax_divergence(torch.zeros(2, 3), torch.zeros(2, 3), class_axis=class_axis)


def test_sigmoid_of_one_class():
    received = sigmoid_divergence(torch.tensor([[-LOG3]]), torch.zeros(1, 1))
    assert received.item() == pytest.approx(KL_HALF_FROM_QUARTER)


def test_sigmoid_is_symmetric_in_yes_and_no():
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    torch.testing.assert_close(
        sigmoid_divergence(-student, -teacher), sigmoid_divergence(student, teacher)
    )


def test_bernoulli_kl_of_saturated_logits_is_their_distance():
    student, teacher = torch.tensor([-100.0, 100.0, 100.0]), torch.tensor([100.0, -100.0, 100.0])
    assert bernoulli_kl(student, teacher).tolist() == pytest.approx([100.0, 100.0, 0.0])


@pytest.mark.parametrize("loss", [softmax_divergence, sigmoid_divergence])
def test_no_region_gives_zero_with_a_gradient(loss):
    student = torch.zeros(0, 4, requires_grad=True)
    value = loss(student, torch.zeros(0, 4))
    value.backward()
    assert value.item() == 0
