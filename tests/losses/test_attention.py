import pytest
import torch

from kd3d.losses import attention_transfer


def test_energy_of_two_positions():
    student = torch.tensor([[3.0, 1.0], [3.0, 1.0]]).view(1, 2, 1, 2)  # energy 9, 1
    teacher = torch.tensor([[0.0, 2.0]]).view(1, 1, 1, 2)  # energy 0, 4: unit map 0, 1
    cosine = 1 / (81 + 1) ** 0.5
    assert attention_transfer(student, teacher).item() == pytest.approx(2 - 2 * cosine)


def test_scale_and_sign_of_features_do_not_matter():
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    expected = attention_transfer(student, teacher)
    torch.testing.assert_close(attention_transfer(-7 * student, 0.1 * teacher), expected)


def test_disjoint_maps_are_two_apart():
    student = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    assert attention_transfer(student, student.flip(-1)).item() == pytest.approx(2)
