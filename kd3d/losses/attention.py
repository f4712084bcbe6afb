"""Attention transfer: agree on where the energy lies, not on the features themselves."""

import torch.nn.functional as F
from torch import Tensor, nn

from kd3d.errors import UserError
from kd3d.losses.arguments import expect_map
from kd3d.losses.precision import in_float32
from kd3d.registry import LOSSES

_SMALLEST_NORM = 1e-6  # a map without energy is compared as it is instead of being blown up


@in_float32
def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of unit-length energy maps (Zagoruyko & Komodakis, 2017).

    The energy map is the mean over channels of squared features; it is divided by its length over
    all positions. Equals ``2 - 2 cos`` of the two maps, so it ignores the scale of either network.
    The paper takes the distance and the authors' code the mean of its squares over positions; we
    take the square's sum, which is in [0, 2] for every map size.

    Args:
        student: (B, C, ...) with at least one spatial axis.
        teacher: (B, C', ...), the target; other channels are allowed; no gradient flows into it.

    Returns:
        Scalar in [0, 2], averaged over B.

    Raises:
        UserError: if batch or positions differ.
    """
    expect_map(student)
    expect_map(teacher)
    if student.shape[:1] + student.shape[2:] != teacher.shape[:1] + teacher.shape[2:]:
        raise UserError(
            f"expected equal shapes but for the channels, got student {tuple(student.shape)} and "
            f"teacher {tuple(teacher.shape)}; add a Resize connector to the pair"
        )
    difference = _unit_energy(student) - _unit_energy(teacher.detach())
    return difference.square().sum(1).mean()


def _unit_energy(feature: Tensor) -> Tensor:
    """(B, C, ...) to (B, positions) of length 1."""
    return F.normalize(feature.square().mean(1).flatten(1), dim=1, eps=_SMALLEST_NORM)


@LOSSES.register_module()
class AttentionTransfer(nn.Module):
    """See ``attention_transfer``."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Scalar loss of two maps with equal B, H, W."""
        return attention_transfer(student, teacher)
