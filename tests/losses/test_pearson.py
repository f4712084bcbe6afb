import pytest
import torch

from kd3d.losses import pearson_distance


@pytest.mark.parametrize(
    ("student", "expected"),
    [
        ([1.0, 2.0, 3.0], 0.0),  # the teacher's line
        ([3.0, 2.0, 1.0], 2.0),  # its mirror: correlation -1
        ([1.0, -2.0, 1.0], 1.0),  # no correlation
        ([1.0, 3.0, 2.0], 0.5),  # (1 * 0 + 0 - 1 * -1) / (sqrt 2 * sqrt 2) = 1/2
    ],
)
def test_three_positions(student, expected):
    teacher = torch.tensor([10.0, 20.0, 30.0]).view(1, 1, 1, 3)
    received = pearson_distance(torch.tensor(student).view(1, 1, 1, 3), teacher)
    assert received.item() == pytest.approx(expected, abs=1e-5)


def test_magnitude_and_level_do_not_matter():
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(
        pearson_distance(5 * student + 3, 0.5 * teacher - 2),
        pearson_distance(student, teacher),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_flat_channel_stays_finite():
    student = torch.full((1, 1, 2, 2), 3.0, requires_grad=True)
    teacher = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(1, 1, 2, 2)
    value = pearson_distance(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(1 / 2, abs=1e-5)  # half of 0 - 1 squared
    assert torch.isfinite(student.grad).all()
