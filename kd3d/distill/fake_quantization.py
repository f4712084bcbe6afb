"""Fake quantisation: what INT8 does to a number, in floats, with a gradient that passes it.

As the exported file does it (ONNX ``QuantizeLinear``, zero point 0): divided by the scale, rounded
half to even, held within -128 and 127, multiplied again. Backwards the rounding is left out
(straight-through, Bengio et al., 2013) and what was cut off gets no gradient (Jacob et al., 2018).

The arithmetic is torch's own operator. The observers of ``torch.ao.quantization`` are not used:
they divide by 127.5 where the file's scale is range / 127, and they are modules with buffers.
"""

import math

import torch
from torch import Tensor

LOWEST, HIGHEST = -128, 127
_SAMPLES = 2**16
_SMALLEST_SCALE = torch.finfo(torch.float32).tiny  # of an input or a channel that is 0 throughout


def fake_quantized_activation(value: Tensor, limit: Tensor) -> Tensor:
    """Symmetric, one scale for the tensor.

    Args:
        value: of any shape.
        limit: scalar; the size that 127 stands for.
    """
    scale = (limit.float() / HIGHEST).clamp_min(_SMALLEST_SCALE)
    zero_point = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_tensor_affine(
        value.float(), scale, zero_point, LOWEST, HIGHEST
    ).to(value.dtype)


def fake_quantized_weight(weight: Tensor, axis: int) -> Tensor:
    """Symmetric, one scale for each output channel, from the channel's largest weight.

    Such a scale grows with its channel, so it makes no difference whether a batch norm is folded
    into the weights before or after: training needs no folding to see the exported numbers.

    Args:
        weight: of a convolution or a linear layer.
        axis: that counts the output channels.
    """
    others = [dim for dim in range(weight.ndim) if dim != axis]
    limit = weight.detach().float().abs().amax(others)
    scale = (limit / HIGHEST).clamp_min(_SMALLEST_SCALE)
    # as floats: of integers torch reads the largest and the smallest, which waits for a GPU
    zero_points = torch.zeros_like(scale)
    return torch.fake_quantize_per_channel_affine(
        weight.float(), scale, zero_points, axis, LOWEST, HIGHEST
    ).to(weight.dtype)


@torch.no_grad()
def limit_of(value: Tensor, percentile: float) -> Tensor:
    """The size below which ``percentile`` of 100 elements lie; scalar, float32.

    Large tensors are sampled, evenly and always at the same places.

    Args:
        value: not empty.
        percentile: in (0, 100]; 100 is the largest size.
    """
    sizes = value.detach().float().abs().flatten()
    if percentile < 100:
        sizes = sizes[:: sizes.numel() // _SAMPLES + 1 | 1]  # odd: columns take turns
        rank = math.ceil(sizes.numel() * percentile / 100)
        return sizes.kthvalue(rank).values
    return sizes.amax()
