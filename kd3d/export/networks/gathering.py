"""Choosing cells or rows of every frame by index, as one plain GatherElements."""

import torch
from torch import Tensor


def gather_cells(values: Tensor, index: Tensor) -> Tensor:
    """(B, C, K) of (B, C, N) values, by (B, K) cell numbers."""
    return values.gather(2, _repeated(index.unsqueeze(1), (1, int(values.shape[1]), 1)))


def gather_rows(values: Tensor, index: Tensor) -> Tensor:
    """(B, K, C) of (B, N, C) values, by (B, K) row numbers."""
    return values.gather(1, _repeated(index.unsqueeze(2), (1, 1, int(values.shape[2]))))


def _repeated(index: Tensor, shape: tuple[int, int, int]) -> Tensor:
    # by adding zeros: expand() and repeat() leave arithmetic on shapes in the file
    return index + torch.zeros(shape, dtype=index.dtype, device=index.device)
