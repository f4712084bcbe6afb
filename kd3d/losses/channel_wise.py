"""Channel-wise divergence: where in the map does each channel respond."""

import torch.nn.functional as F
from torch import Tensor, nn

from kd3d.losses.arguments import expect_equal_maps, expect_temperature
from kd3d.losses.precision import in_float32
from kd3d.registry import LOSSES


@in_float32
def channel_wise_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL divergence between the spatial distributions of matching channels (Shu et al., 2021).

    Args:
        student: (B, C, ...) with at least one spatial axis.
        teacher: the same shape, the target; no gradient flows into it.
        temperature: above 0; softens both distributions, and the result is scaled by its square so
            that gradients keep their size.

    Returns:
        Scalar, summed over positions, averaged over B and C.

    Raises:
        UserError: if the shapes differ or are no maps.
    """
    expect_equal_maps(student, teacher)
    expect_temperature(temperature)
    log_p = (student.flatten(2) / temperature).log_softmax(-1)
    log_q = (teacher.detach().flatten(2) / temperature).log_softmax(-1)
    divergence = F.kl_div(log_p, log_q, reduction="none", log_target=True)
    return divergence.sum(-1).mean() * temperature**2


@LOSSES.register_module()
class ChannelWiseDivergence(nn.Module):
    """See ``channel_wise_divergence``.

    Args:
        temperature: above 0, used where the call gives none.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        expect_temperature(temperature)
        self.temperature = temperature

    def forward(
        self, student: Tensor, teacher: Tensor, *, temperature: float | None = None
    ) -> Tensor:
        """Scalar loss of two (B, C, H, W) maps."""
        chosen = self.temperature if temperature is None else temperature
        return channel_wise_divergence(student, teacher, chosen)
