"""Distance of BEV features, where a mask looks."""

import torch
from torch import Tensor, nn

from kd3d.errors import UserError
from kd3d.losses.arguments import expect_equal_maps
from kd3d.losses.precision import in_float32
from kd3d.registry import LOSSES

_SMALLEST_MASS = 1e-6  # of a mask: below it there is nothing to compare


@in_float32
def bev_feature(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Squared difference of features, averaged with the weights of a mask.

    Imitation of the foreground (Wang et al., 2019) as BEVDistill (Chen et al., 2023) and
    DistillBEV (Wang et al., 2023) carry it to BEV maps. They normalise in different ways; we divide
    by the sum of the mask of each frame, so that a frame's loss depends neither on the size of its
    objects nor on its neighbours in the batch.

    Args:
        student: (B, C, H, W), aligned with the teacher by a connector.
        teacher: the same shape, the target; no gradient flows into it.
        mask: (B, 1, H, W) or (1, 1, H, W), weights of at least 0; None weighs all cells equally.

    Returns:
        Scalar, averaged over C, over cells by weight, and over B; a frame whose mask is empty
        counts as 0.

    Raises:
        UserError: if the shapes differ or are no maps.
    """
    expect_equal_maps(student, teacher)
    apart = (student - teacher.detach()).square().mean(1, keepdim=True)
    if mask is None:
        return apart.mean()
    weight = expect_mask(mask, apart)
    mass = weight.flatten(1).sum(1)
    sums = (apart * weight).flatten(1).sum(1)
    return (sums / mass.clamp(min=_SMALLEST_MASS)).mean()


def expect_mask(mask: Tensor, like: Tensor) -> Tensor:
    """The mask as (B, 1, H, W), without gradient.

    Args:
        mask: (B, 1, H, W) or (1, 1, H, W).
        like: (B, 1, H, W) of the compared maps.

    Raises:
        UserError: if it is of another shape.
    """
    one_for_all = tuple(mask.shape) == (1, *like.shape[1:])
    if not one_for_all and mask.shape != like.shape:
        raise UserError(
            f"expected a mask {tuple(like.shape)} as the teacher's map, got {tuple(mask.shape)}"
        )
    return mask.detach().expand_as(like).to(torch.float32)


@LOSSES.register_module()
class BevFeature(nn.Module):
    """See ``bev_feature``."""

    def forward(self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Scalar loss of two (B, C, H, W) maps and an optional (B, 1, H, W) mask."""
        return bev_feature(student, teacher, mask)
