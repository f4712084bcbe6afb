"""The blocks that the YOLO family of 2020 to 2026 is made of, written from their descriptions.

Only what shapes and operations need: no training, no weights. ``shortcut`` adds a block's input to
its output, ``expansion`` is its inner width over its outer one, as in the papers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Conv(nn.Sequential):
    """Convolution, batch norm and an activation: SiLU unless another is given."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        padding: int | None = None,
        activation: nn.Module | None = None,
    ) -> None:
        padding = kernel // 2 if padding is None else padding
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs), activation or nn.SiLU())


def plain(inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> Conv:
    """A :class:`Conv` without activation."""
    return Conv(inputs, outputs, kernel, stride, groups=groups, activation=nn.Identity())


def depthwise(channels: int, kernel: int = 3) -> Conv:
    """A :class:`Conv` of one group a channel."""
    return Conv(channels, channels, kernel, groups=channels)


class Bottleneck(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(
        self, channels: int, *, shortcut: bool, kernels: tuple[int, int], expansion: float
    ) -> None:
        super().__init__()
        inner = int(channels * expansion)
        self.body = nn.Sequential(
            Conv(channels, inner, kernels[0]), Conv(inner, channels, kernels[1])
        )
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        out: Tensor = self.body(x)
        return x + out if self.shortcut else out


class C3(nn.Module):
    """Cross-stage partial block of YOLOv5 (three 1x1 convolutions); C3k with 3x3 bottlenecks."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        repeats: int,
        *,
        shortcut: bool = True,
        kernels: tuple[int, int] = (1, 3),
    ) -> None:
        super().__init__()
        inner = outputs // 2
        self.left = nn.Sequential(
            Conv(inputs, inner),
            *(
                Bottleneck(inner, shortcut=shortcut, kernels=kernels, expansion=1.0)
                for _ in range(repeats)
            ),
        )
        self.right = Conv(inputs, inner)
        self.join = Conv(2 * inner, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        out: Tensor = self.join(torch.cat([self.left(x), self.right(x)], 1))
        return out


class SplitChain(nn.Module):
    """C2f: half the channels run through a chain of blocks, and all steps are joined."""

    def __init__(
        self, inputs: int, outputs: int, blocks: Sequence[nn.Module], *, inner: int
    ) -> None:
        super().__init__()
        self.inner = inner
        self.enter = Conv(inputs, 2 * inner)
        self.blocks = nn.ModuleList(blocks)
        self.join = Conv((2 + len(blocks)) * inner, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        steps = list(self.enter(x).split((self.inner, self.inner), 1))
        for block in self.blocks:
            steps.append(block(steps[-1]))
        out: Tensor = self.join(torch.cat(steps, 1))
        return out


def c2f(inputs: int, outputs: int, repeats: int, *, shortcut: bool) -> SplitChain:
    """YOLOv8's block: bottlenecks of full width."""
    inner = outputs // 2
    blocks = [
        Bottleneck(inner, shortcut=shortcut, kernels=(3, 3), expansion=1.0) for _ in range(repeats)
    ]
    return SplitChain(inputs, outputs, blocks, inner=inner)


def c3k2(
    inputs: int, outputs: int, repeats: int, *, nested: bool, expansion: float = 0.5
) -> SplitChain:
    """YOLO11's block: narrow bottlenecks, or where ``nested`` a C3k of two for each."""
    inner = int(outputs * expansion)
    blocks: list[nn.Module] = [
        C3(inner, inner, 2, kernels=(3, 3))
        if nested
        else Bottleneck(inner, shortcut=True, kernels=(3, 3), expansion=0.5)
        for _ in range(repeats)
    ]
    return SplitChain(inputs, outputs, blocks, inner=inner)


def attentive_c3k2(inputs: int, outputs: int, repeats: int) -> SplitChain:
    """YOLO26's deepest block of the neck: a narrow bottleneck, then self-attention."""
    inner = outputs // 2
    blocks = [
        nn.Sequential(
            Bottleneck(inner, shortcut=True, kernels=(3, 3), expansion=0.5),
            AttentionBlock(inner, heads=max(inner // 64, 1)),
        )
        for _ in range(repeats)
    ]
    return SplitChain(inputs, outputs, blocks, inner=inner)


class PyramidPooling(nn.Module):
    """SPPF: three poolings in a row, joined; ``shortcut`` and a linear entry in YOLO26."""

    def __init__(self, inputs: int, outputs: int, *, shortcut: bool = False) -> None:
        super().__init__()
        inner = inputs // 2
        self.enter = plain(inputs, inner) if shortcut else Conv(inputs, inner)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.join = Conv(4 * inner, outputs)
        self.shortcut = shortcut and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        steps = [self.enter(x)]
        for _ in range(3):
            steps.append(self.pool(steps[-1]))
        out: Tensor = self.join(torch.cat(steps, 1))
        return x + out if self.shortcut else out


class Attention(nn.Module):
    """Self-attention over all cells, keys half as wide as values, with a 3x3 position term."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.value_width = channels // heads
        self.key_width = self.value_width // 2
        self.query_key_value = plain(channels, channels + 2 * self.key_width * heads)
        self.position = plain(channels, channels, 3, groups=channels)
        self.project = plain(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        B, C, H, W = (int(size) for size in x.shape)
        widths = [self.key_width, self.key_width, self.value_width]
        joined = self.query_key_value(x).view(B, self.heads, sum(widths), H * W)
        query, key, value = joined.split(widths, 2)
        weight = ((query.transpose(2, 3) @ key) * self.key_width**-0.5).softmax(-1)
        mixed = (value @ weight.transpose(2, 3)).view(B, C, H, W)
        out: Tensor = self.project(mixed + self.position(value.reshape(B, C, H, W)))
        return out


class AttentionBlock(nn.Module):
    """Attention and a feed-forward pair of 1x1 convolutions, each beside a shortcut."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(channels, heads)
        self.feed_forward = nn.Sequential(
            Conv(channels, 2 * channels), plain(2 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        x = x + self.attention(x)
        out: Tensor = x + self.feed_forward(x)
        return out


class PartialAttention(nn.Module):
    """C2PSA (PSA of YOLOv10 with one block): attention over half of the channels."""

    def __init__(self, channels: int, repeats: int) -> None:
        super().__init__()
        self.inner = inner = channels // 2
        self.enter = Conv(channels, 2 * inner)
        self.blocks = nn.Sequential(
            *(AttentionBlock(inner, heads=max(inner // 64, 1)) for _ in range(repeats))
        )
        self.join = Conv(2 * inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        kept, attended = self.enter(x).split((self.inner, self.inner), 1)
        out: Tensor = self.join(torch.cat([kept, self.blocks(attended)], 1))
        return out
