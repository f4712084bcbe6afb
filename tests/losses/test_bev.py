"""Masked BEV features by hand."""

import pytest
import torch

from kd3d.errors import UserError
from kd3d.losses import bev_feature


def cells(*values):
    """(1, 2, 1, N): both channels hold the values."""
    return torch.tensor(values, dtype=torch.float32).expand(1, 2, 1, -1)


def weights(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def test_weighted_mean_by_hand():
    student, teacher = cells(1.0, 2.0, 3.0), cells(0.0, 0.0, 0.0)
    expected = (1 * 1 + 0.5 * 4 + 0 * 9) / 1.5
    received = bev_feature(student, teacher, weights(1.0, 0.5, 0.0))
    assert received.item() == pytest.approx(expected)
    assert bev_feature(student, teacher).item() == pytest.approx((1 + 4 + 9) / 3)


def test_scale_of_the_mask_does_not_matter():
    student, teacher = torch.randn(1, 2, 1, 4), torch.randn(1, 2, 1, 4)
    mask = torch.rand(1, 1, 1, 4)
    torch.testing.assert_close(
        bev_feature(student, teacher, mask), bev_feature(student, teacher, 1e-3 * mask)
    )


def test_frame_with_an_empty_mask_counts_as_zero():
    student, teacher = cells(1.0, 2.0).repeat(2, 1, 1, 1), cells(0.0, 0.0).repeat(2, 1, 1, 1)
    mask = torch.cat([weights(0.0, 0.0), weights(0.0, 1.0)])
    student.requires_grad_()
    value = bev_feature(student, teacher, mask)
    assert value.item() == pytest.approx((0 + 4) / 2)
    value.backward()
    assert torch.isfinite(student.grad).all()
    assert (student.grad[0] == 0).all()


def test_one_mask_for_all_frames():
    student, teacher = torch.randn(3, 2, 1, 4), torch.randn(3, 2, 1, 4)
    mask = weights(1.0, 0.0, 0.0, 2.0)
    torch.testing.assert_close(
        bev_feature(student, teacher, mask),
        bev_feature(student, teacher, mask.repeat(3, 1, 1, 1)),
    )


def test_mask_of_another_shape_is_refused():
    with pytest.raises(UserError, match=r"mask \(3, 1, 1, 4\) as the teacher's map, got \(3, 1, 4"):
        bev_feature(torch.zeros(3, 2, 1, 4), torch.zeros(3, 2, 1, 4), torch.ones(3, 1, 4, 1))
