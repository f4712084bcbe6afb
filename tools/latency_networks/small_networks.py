"""Networks for phones, and YOLO variants of another cut: only to see how the predictor behaves.

MobileNetV2 (Sandler et al., 2018), EfficientNet-B0 (Tan and Le, 2019), YOLOv7-tiny (Wang et al.,
2022) and YOLOv10n (Wang et al., 2024), from the papers' tables.
"""

import torch
from residual_networks import conv_norm
from torch import Tensor, nn
from yolo_heads import AnchorHead, DenseHead
from yolo_layers import (
    AttentionBlock,
    Conv,
    PyramidPooling,
    SplitChain,
    c2f,
    depthwise,
    plain,
)
from yolo_networks import YOLOV8, Yolo


class Inverted(nn.Module):
    """A wide depthwise convolution between two 1x1 ones, with a gate in EfficientNet."""

    def __init__(
        self, inputs: int, outputs: int, *, grow: int, kernel: int, stride: int, gated: bool
    ) -> None:
        super().__init__()
        inner = inputs * grow
        act = nn.SiLU if gated else nn.ReLU6
        first = [conv_norm(inputs, inner, 1), act()] if grow > 1 else []
        self.body = nn.Sequential(
            *first, conv_norm(inner, inner, kernel, stride, groups=inner), act()
        )
        squeezed = max(inputs // 4, 1)
        self.gate = (
            nn.Sequential(
                *(nn.Conv2d(inner, squeezed, 1), nn.SiLU()),
                *(nn.Conv2d(squeezed, inner, 1), nn.Sigmoid()),
            )
            if gated
            else None
        )
        self.last = conv_norm(inner, outputs, 1)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H', W')."""
        wide = self.body(x)
        if self.gate is not None:
            wide = wide * self.gate(wide.mean((2, 3), keepdim=True))
        out: Tensor = self.last(wide)
        return x + out if self.shortcut else out


class Pooled(nn.Module):
    """Global average and 1000 classes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 1000)."""
        out: Tensor = self.linear(x.mean((2, 3)))
        return out


def _inverted(rows: list[tuple[int, int, int, int, int]], *, gated: bool) -> list[nn.Module]:
    """Rows of growth, outputs, repeats, stride, kernel, after a stem of 32 channels."""
    inputs, layers = 32, []
    for grow, outputs, repeats, stride, kernel in rows:
        for index in range(repeats):
            step = stride if index == 0 else 1
            layers.append(
                Inverted(inputs, outputs, grow=grow, kernel=kernel, stride=step, gated=gated)
            )
            inputs = outputs
    return [*layers]


def mobilenet_v2() -> nn.Module:
    """MobileNetV2, width 1."""
    rows = [
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 32, 3, 2, 3),
        (6, 64, 4, 2, 3),
        (6, 96, 3, 1, 3),
        (6, 160, 3, 2, 3),
        (6, 320, 1, 1, 3),
    ]
    stem, last = conv_norm(3, 32, 3, 2), conv_norm(320, 1280, 1)
    return nn.Sequential(
        stem, nn.ReLU6(), *_inverted(rows, gated=False), last, nn.ReLU6(), Pooled(1280)
    )


def efficientnet_b0() -> nn.Module:
    """EfficientNet-B0."""
    rows = [
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    ]
    stem, last = conv_norm(3, 32, 3, 2), conv_norm(320, 1280, 1)
    return nn.Sequential(
        stem, nn.SiLU(), *_inverted(rows, gated=True), last, nn.SiLU(), Pooled(1280)
    )


def _leaky(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> Conv:
    return Conv(inputs, outputs, kernel, stride, activation=nn.LeakyReLU(0.1))


class Elan(nn.Module):
    """YOLOv7-tiny's block: two branches of 1x1, two 3x3 after the second, all joined."""

    def __init__(self, inputs: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.sides = nn.ModuleList(_leaky(inputs, inner) for _ in range(2))
        self.chain = nn.ModuleList(_leaky(inner, inner, 3) for _ in range(2))
        self.join = _leaky(4 * inner, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        steps = [side(x) for side in self.sides]
        for layer in self.chain:
            steps.append(layer(steps[-1]))
        out: Tensor = self.join(torch.cat(steps, 1))
        return out


class TinyPooling(nn.Module):
    """YOLOv7-tiny's spatial pyramid: three windows at once, beside a 1x1 branch."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = nn.ModuleList(_leaky(512, 256) for _ in range(2))
        self.pools = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in (5, 9, 13))
        self.pooled, self.join = _leaky(1024, 256), _leaky(512, 256)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 512, H, W) to (B, 256, H, W)."""
        beside, x = (side(x) for side in self.sides)
        pooled = self.pooled(torch.cat([x, *(pool(x) for pool in self.pools)], 1))
        out: Tensor = self.join(torch.cat([pooled, beside], 1))
        return out


class YoloV7Tiny(nn.Module):
    """YOLOv7-tiny, decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_leaky(3, 32, 3, 2), _leaky(32, 64, 3, 2), Elan(64, 32, 64))
        self.pool, self.upsample = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.stages = nn.ModuleList(Elan(inputs, inputs, 2 * inputs) for inputs in (64, 128, 256))
        self.pyramid = TinyPooling()
        self.lateral = nn.ModuleList([_leaky(256, 128), _leaky(128, 64)])
        self.route = nn.ModuleList([_leaky(256, 128), _leaky(128, 64)])
        self.down = nn.ModuleList([Elan(256, 64, 128), Elan(128, 32, 64)])
        self.stride = nn.ModuleList([_leaky(64, 128, 3, 2), _leaky(128, 256, 3, 2)])
        self.up = nn.ModuleList([Elan(256, 64, 128), Elan(512, 128, 256)])
        self.wide = nn.ModuleList(_leaky(width, 2 * width, 3) for width in (64, 128, 256))
        self.head = AnchorHead((128, 256, 512), decode=True)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to (B, N, 85)."""
        x, levels = self.stem(images), []
        for stage in self.stages:
            x = stage(self.pool(x))
            levels.append(x)
        p5 = self.pyramid(x)
        p4 = self.down[0](
            torch.cat([self.route[0](levels[1]), self.upsample(self.lateral[0](p5))], 1)
        )
        p3 = self.down[1](
            torch.cat([self.route[1](levels[0]), self.upsample(self.lateral[1](p4))], 1)
        )
        n4 = self.up[0](torch.cat([self.stride[0](p3), p4], 1))
        n5 = self.up[1](torch.cat([self.stride[1](n4), p5], 1))
        wide = [layer(x) for layer, x in zip(self.wide, (p3, n4, n5), strict=True)]
        found: tuple[Tensor, ...] = self.head(wide)
        return found


class InvertedBottleneck(nn.Module):
    """YOLOv10's compact block, with the large kernel of its smallest sizes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(depthwise(width), Conv(width, 2 * width), depthwise(2 * width, 7)),
            *(Conv(2 * width, width), depthwise(width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        out: Tensor = x + self.body(x)
        return out


class HalfAttention(nn.Module):
    """YOLOv10's partial self-attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = width // 2
        self.enter, self.join = Conv(width, width), Conv(width, width)
        self.block = AttentionBlock(self.inner, heads=max(self.inner // 64, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        kept, attended = self.enter(x).split((self.inner, self.inner), 1)
        out: Tensor = self.join(torch.cat([kept, self.block(attended)], 1))
        return out


def _halving(inputs: int, outputs: int) -> nn.Sequential:
    """YOLOv10's downsampling: 1x1, then a strided depthwise convolution."""
    return nn.Sequential(
        Conv(inputs, outputs), plain(outputs, outputs, 3, stride=2, groups=outputs)
    )


def yolov10n() -> Yolo:
    """YOLOv10n, its one-to-one head alone, as exported."""
    size = YOLOV8["n"]
    c1, c2, c3, c4, c5 = (size.channels(base) for base in (64, 128, 256, 512, 1024))

    def block(inputs: int, outputs: int, base: int, *, shortcut: bool = True) -> SplitChain:
        return c2f(inputs, outputs, size.repeats(base), shortcut=shortcut)

    compact = SplitChain(c4 + c5, c5, [InvertedBottleneck(c5 // 2)], inner=c5 // 2)
    return Yolo(
        [
            Conv(3, c1, 3, 2),
            nn.Sequential(Conv(c1, c2, 3, 2), block(c2, c2, 3)),
            nn.Sequential(Conv(c2, c3, 3, 2), block(c3, c3, 6)),
            nn.Sequential(_halving(c3, c4), block(c4, c4, 6)),
            nn.Sequential(
                _halving(c4, c5), block(c5, c5, 3), PyramidPooling(c5, c5), HalfAttention(c5)
            ),
        ],
        down=[block(c5 + c4, c4, 3, shortcut=False), block(c4 + c3, c3, 3, shortcut=False)],
        up=[block(c3 + c4, c4, 3, shortcut=False), compact],
        lateral=[nn.Identity(), nn.Identity()],
        stride=[Conv(c3, c3, 3, 2), _halving(c4, c4)],
        head=DenseHead((c3, c4, c5), bins=16, light=True, end_to_end=True),
    )
