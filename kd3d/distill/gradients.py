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


def computed_twice(model: nn.Module) -> list[str]:
    """Names of the modules that drop activations and compute them again (mmdet's ``with_cp``).

    They do so by torch's reentrant checkpointing, which :func:`gradients` cannot go through.
    """
    return [name for name, module in model.named_modules() if getattr(module, "with_cp", False)]


def compute_once(model: nn.Module) -> None:
    """Lets such modules keep their activations, in place."""
    for name in computed_twice(model):
        module: Any = model.get_submodule(name)  # Any: an attribute of untyped libraries
        module.with_cp = False


def norm(gradient: Sequence[Tensor]) -> Tensor:
    """Euclidean norm over all parameters, in fp32."""
    size: Tensor = torch.stack([part.float().norm() for part in gradient]).norm()
    return size
