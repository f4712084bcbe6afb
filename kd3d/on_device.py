"""Small tensors of numbers that Python knows, put on a GPU without waiting for it."""

from typing import Any

import torch
from torch import Tensor


def on_device(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """As ``torch.tensor``, but queued behind what a GPU has to do.

    ``torch.tensor(values, device="cuda")`` and ``new_tensor`` copy from memory that is not pinned,
    and so come back only when the GPU has finished all it was given.

    Args:
        values: numbers, nested.
        device: where they are wanted.
        dtype: None for torch's own choice.
    """
    if device.type != "cuda":
        return torch.tensor(values, dtype=dtype, device=device)
    return torch.tensor(values, dtype=dtype).pin_memory().to(device, non_blocking=True)
