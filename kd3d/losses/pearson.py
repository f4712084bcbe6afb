"""PKD: correlate the channels, whatever their magnitudes."""

import torch.nn.functional as F
from torch import Tensor, nn

from kd3d.losses.arguments import expect_equal_maps
from kd3d.losses.precision import in_float32
from kd3d.registry import LOSSES

_VARIANCE_FLOOR = 1e-6  # a channel without variation becomes 0 and its gradient stays finite


@in_float32
def pearson_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """One minus the Pearson correlation of matching channels (Cao et al., 2022, PKD).

    Half the squared difference of channels brought to mean 0 and variance 1. The authors take mean
    and variance over the batch and all positions; we take them over the positions of each image,
    so that an image's loss does not depend on its neighbours in the batch.

    Args:
        student: (B, C, ...) with at least one spatial axis of more than one position.
        teacher: the same shape, the target; no gradient flows into it.

    Returns:
        Scalar in [0, 2], averaged over B and C.

    Raises:
        UserError: if the shapes differ or are no maps.
    """
    expect_equal_maps(student, teacher)
    return F.mse_loss(_standardized(student), _standardized(teacher.detach())) / 2


def _standardized(feature: Tensor) -> Tensor:
    """(B, C, ...) to (B, C, positions), each row of mean 0 and variance 1."""
    rows = feature.flatten(2)
    centred = rows - rows.mean(-1, keepdim=True)
    return centred * (centred.square().mean(-1, keepdim=True) + _VARIANCE_FLOOR).rsqrt()


@LOSSES.register_module()
class PearsonDistance(nn.Module):
    """See ``pearson_distance``."""

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Scalar loss of two (B, C, H, W) maps."""
        return pearson_distance(student, teacher)
