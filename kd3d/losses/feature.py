"""Distances between feature maps: plain, and with the map of mean activations."""

import torch.nn.functional as F
from torch import Tensor, nn

from kd3d.errors import UserError
from kd3d.losses.arguments import expect_equal_maps, expect_equal_shapes
from kd3d.losses.precision import in_float32
from kd3d.registry import LOSSES


@in_float32
def feature_l2(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of features (Romero et al., 2015, FitNets).

    Differs from the paper by taking the mean over every axis instead of half the sum, so that one
    weight serves maps of any size.

    Args:
        student: (B, ...), any shape.
        teacher: the same shape, the target; no gradient flows into it.

    Returns:
        Scalar, averaged over all elements; 0 for an empty tensor.

    Raises:
        UserError: if the shapes differ.
    """
    expect_equal_shapes(student, teacher)
    return (student - teacher.detach()).square().sum() / max(student.numel(), 1)


@in_float32
def feature_attention(student: Tensor, teacher: Tensor, alpha: float = 0.5) -> Tensor:
    """Squared difference of features, mixed with that of their squashed channel means.

    ``alpha * L2 + (1 - alpha) * MSE(sigmoid(mean over channels))``: the second term compares where
    the networks are active, with equal say for weak and strong activations.

    Args:
        student: (B, C, ...) with at least one spatial axis.
        teacher: the same shape, the target; no gradient flows into it.
        alpha: share of the plain squared difference, in [0, 1].

    Returns:
        Scalar, averaged over B, C and positions.

    Raises:
        UserError: if the shapes differ or are no maps.
    """
    expect_equal_maps(student, teacher)
    teacher = teacher.detach()
    activity = F.mse_loss(student.mean(1).sigmoid(), teacher.mean(1).sigmoid())
    return alpha * F.mse_loss(student, teacher) + (1 - alpha) * activity


@LOSSES.register_module()
class FeatureL2(nn.Module):
    """See ``feature_l2``."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Scalar loss of two tensors of one shape."""
        return feature_l2(student, teacher)


@LOSSES.register_module()
class FeatureAttention(nn.Module):
    """See ``feature_attention``.

    Args:
        alpha: share of the plain squared difference, in [0, 1].
    """

    def __init__(self, alpha: float = 0.5) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise UserError(f"FeatureAttention: expected alpha in [0, 1], got {alpha}")
        self.alpha = alpha

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Scalar loss of two (B, C, H, W) maps."""
        return feature_attention(student, teacher, self.alpha)
