"""How strongly each loss pulls the student: gradient norms, without touching ``.grad``."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def total_loss(losses: Mapping[str, Any]) -> Tensor:  # Any: a tensor or a list of tensors
    """The sum MMEngine trains on: every entry with "loss" in its name, lists summed."""
    values: list[Tensor] = []
    for name, value in losses.items():
        if "loss" in name:
            parts = value if isinstance(value, list | tuple) else [value]
            values.extend(part.mean() for part in parts)
    return torch.stack(values).sum()


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters an optimizer would move."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def gradients(loss: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor] | None:
    """D loss / d parameters, the graph kept; None where the loss does not depend on any.

    Parameters that the loss does not reach give zeros.
    """
    if not loss.requires_grad:
        return None
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    if all(gradient is None for gradient in found):
        return None
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for gradient, parameter in zip(found, parameters, strict=True)
    ]


def norm(gradient: Sequence[Tensor]) -> Tensor:
    """Euclidean norm over all parameters, in fp32."""
    size: Tensor = torch.stack([part.float().norm() for part in gradient]).norm()
    return size
