"""Transformers: ViT and CLIP's image encoder, MobileSAM's TinyViT, and PETR's decoder on VoVNet-99.

Dosovitskiy et al. (2021), Radford et al. (2021), Wu et al. (2022), Zhang et al. (2023), Liu et al.
(2022), and Lee and Park (2020), from the papers' tables.
"""

from collections.abc import Callable

import torch
from residual_networks import conv_norm, conv_norm_relu
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Multi-head attention of (B, N, C) over itself, or over other tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.project = nn.Linear(width, width)
        self.heads = heads

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, N, C), (B, M, C) and (B, M, C) to (B, N, C)."""
        B, N, C = (int(size) for size in query.shape)

        def split(x: Tensor) -> Tensor:
            return x.view(B, int(x.shape[1]), self.heads, C // self.heads).transpose(1, 2)

        q, k, v = split(self.query(query)), split(self.key(key)), split(self.value(value))
        weight = ((q * (C // self.heads) ** -0.5) @ k.transpose(2, 3)).softmax(-1)
        out: Tensor = self.project((weight @ v).transpose(1, 2).reshape(B, N, C))
        return out


def feed_forward(
    width: int, inner: int, activation: Callable[[], nn.Module] = nn.GELU
) -> nn.Sequential:
    """Two linear layers."""
    return nn.Sequential(nn.Linear(width, inner), activation(), nn.Linear(inner, width))


class EncoderLayer(nn.Module):
    """Attention and a feed-forward part, each normalised before and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = SelfAttention(width, heads)
        self.feed_forward = feed_forward(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to the same shape."""
        normed = self.norms[0](x)
        x = x + self.attention(normed, normed, normed)
        out: Tensor = x + self.feed_forward(self.norms[1](x))
        return out


class VisionTransformer(nn.Module):
    """ViT-B: 12 layers of width 768; ``outputs`` is 1000 classes, or CLIP's 512.

    Args:
        patch: pixels of a side.
        outputs: of the last linear layer.
        clip: normalise the tokens first, and no bias in the last layer.
    """

    def __init__(self, patch: int, outputs: int, *, clip: bool) -> None:
        super().__init__()
        tokens = (224 // patch) ** 2
        self.patches = nn.Conv2d(3, 768, patch, patch, bias=not clip)
        self.first = nn.Parameter(torch.zeros(1, 1, 768))
        self.position = nn.Parameter(torch.zeros(1, tokens + 1, 768))
        self.before = nn.LayerNorm(768) if clip else nn.Identity()
        self.layers = nn.Sequential(*(EncoderLayer(768, 12) for _ in range(12)))
        self.after = nn.LayerNorm(768)
        self.last = nn.Linear(768, outputs, bias=not clip)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 224, 224) to (B, outputs)."""
        x = self.patches(images).flatten(2).transpose(1, 2)
        first = self.first + torch.zeros(int(x.shape[0]), 1, 768)
        x = self.layers(self.before(torch.cat([first, x], 1) + self.position))
        out: Tensor = self.last(self.after(x[:, 0]))
        return out


class MobileConv(nn.Module):
    """TinyViT's inverted bottleneck, GELU after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 4 * width
        self.body = nn.Sequential(
            *(conv_norm(width, inner, 1), nn.GELU()),
            *(conv_norm(inner, inner, 3, groups=inner), nn.GELU()),
            conv_norm(inner, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return nn.functional.gelu(x + self.body(x))


def merging(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """TinyViT's step between stages."""
    return nn.Sequential(
        *(conv_norm(inputs, outputs, 1), nn.GELU()),
        *(conv_norm(outputs, outputs, 3, stride, groups=outputs), nn.GELU()),
        conv_norm(outputs, outputs, 1),
    )


class WindowBlock(nn.Module):
    """Attention within windows, a depthwise convolution, a feed-forward part."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window, self.heads = window, heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(1, heads, window**2, window**2))
        self.local = conv_norm(width, width, 3, groups=width)
        self.feed_forward = feed_forward(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        x = x + self._attention(x)
        x = self.local(x)
        tokens = x.permute(0, 2, 3, 1)
        out: Tensor = (tokens + self.feed_forward(self.norms[1](tokens))).permute(0, 3, 1, 2)
        return out

    def _attention(self, x: Tensor) -> Tensor:
        B, C, H, W = (int(size) for size in x.shape)
        side = self.window
        rows, columns = -(-H // side), -(-W // side)
        padded = nn.functional.pad(x, (0, columns * side - W, 0, rows * side - H))
        windows = padded.view(B, C, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        tokens = self.norms[0](windows.reshape(B * rows * columns, side * side, C))
        joined = self.query_key_value(tokens).view(-1, side * side, 3, self.heads, C // self.heads)
        q, k, v = (part.squeeze(2).transpose(1, 2) for part in joined.split((1, 1, 1), 2))
        weight = (q @ k.transpose(2, 3) * (C // self.heads) ** -0.5 + self.bias).softmax(-1)
        out: Tensor = self.project((weight @ v).transpose(1, 2).reshape(-1, side * side, C))
        grid = out.view(B, rows, columns, side, side, C).permute(0, 5, 1, 3, 2, 4)
        return grid.reshape(B, C, rows * side, columns * side)[:, :, :H, :W]


class ChannelNorm(nn.Module):
    """Layer norm over the channels of a map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, 1, 1))
        self.shift = nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        centred = x - x.mean(1, keepdim=True)
        deviation = (centred.pow(2).mean(1, keepdim=True) + 1e-6).sqrt()
        return centred / deviation * self.scale + self.shift


def mobile_sam() -> nn.Module:
    """MobileSAM's image encoder: TinyViT of 5 M parameters, (B, 3, 1024, 1024) to stride 16."""
    return nn.Sequential(
        *(conv_norm(3, 32, 3, 2), nn.GELU(), conv_norm(32, 64, 3, 2)),
        *(MobileConv(64) for _ in range(2)),
        merging(64, 128, 2),
        *(WindowBlock(128, 4, 7) for _ in range(2)),
        merging(128, 160, 2),
        *(WindowBlock(160, 5, 14) for _ in range(6)),
        merging(160, 320, 1),
        *(WindowBlock(320, 10, 7) for _ in range(2)),
        *(nn.Conv2d(320, 256, 1, bias=False), ChannelNorm(256)),
        *(nn.Conv2d(256, 256, 3, padding=1, bias=False), ChannelNorm(256)),
    )


class Aggregation(nn.Module):
    """VoVNetV2's block: five convolutions, all joined, gated by their mean."""

    def __init__(self, inputs: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            conv_norm_relu(inputs if index == 0 else inner, inner, 3) for index in range(5)
        )
        self.join = conv_norm_relu(inputs + 5 * inner, outputs, 1)
        self.gate = nn.Sequential(nn.Conv2d(outputs, outputs, 1), nn.Hardsigmoid())
        self.shortcut = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        steps = [x]
        for layer in self.layers:
            steps.append(layer(steps[-1]))
        joined = self.join(torch.cat(steps, 1))
        out: Tensor = joined * self.gate(joined.mean((2, 3), keepdim=True))
        return out + x if self.shortcut else out


class VoVNet99(nn.Module):
    """VoVNet-99 with gates: outputs of its last two stages, strides 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_norm_relu(3, 64, 3, 2), conv_norm_relu(64, 64, 3), conv_norm_relu(64, 128, 3, 2)
        )
        self.stages = nn.ModuleList()
        inputs = 128
        for inner, outputs, blocks in ((128, 256, 1), (160, 512, 3), (192, 768, 9), (224, 1024, 3)):
            pool: list[nn.Module] = [] if outputs == 256 else [nn.MaxPool2d(3, 2, ceil_mode=True)]
            layers = [
                Aggregation(inputs if index == 0 else outputs, inner, outputs)
                for index in range(blocks)
            ]
            self.stages.append(nn.Sequential(*pool, *layers))
            inputs = outputs

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) to (B, 768, H/16, W/16) and (B, 1024, H/32, W/32)."""
        x, maps = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[2], maps[3]


class DecoderLayer(nn.Module):
    """PETR's: attention among the queries, to the images, and a feed-forward part."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.own, self.cross = SelfAttention(width, 8), SelfAttention(width, 8)
        self.feed_forward = feed_forward(width, 2048, nn.ReLU)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, place: Tensor, keys: Tensor, memory: Tensor) -> Tensor:
        """(B, N, C) to the same shape."""
        x = self.norms[0](x + self.own(x + place, x + place, x))
        x = self.norms[1](x + self.cross(x + place, keys, memory))
        out: Tensor = self.norms[2](x + self.feed_forward(x))
        return out


class Petr(nn.Module):
    """PETR on VoVNet-99, 900 queries; the images' position codes are an input, made once a rig."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = VoVNet99()
        self.lateral = nn.ModuleList(nn.Conv2d(width, 256, 1) for width in (768, 1024))
        self.upsample = nn.Upsample(scale_factor=2)
        self.smooth = nn.Conv2d(256, 256, 3, padding=1)
        self.project = nn.Conv2d(256, 256, 1)
        self.start = nn.Parameter(torch.zeros(1, 900, 256))
        self.place = nn.Parameter(torch.zeros(1, 900, 256))
        self.layers = nn.ModuleList(DecoderLayer() for _ in range(6))
        self.classes = nn.Sequential(
            *(
                layer
                for _ in range(2)
                for layer in (nn.Linear(256, 256), nn.LayerNorm(256), nn.ReLU())
            ),
            nn.Linear(256, 10),
        )
        self.boxes = nn.Sequential(
            nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
        )

    def forward(self, images: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Images (V, 3, H, W) and codes (1, V * H/16 * W/16, 256) to classes and boxes."""
        fine, coarse = (
            layer(x) for layer, x in zip(self.lateral, self.backbone(images), strict=True)
        )
        features = self.project(self.smooth(fine + self.upsample(coarse)))
        memory = features.permute(0, 2, 3, 1).reshape(1, -1, 256)
        x, keys = self.start, memory + codes
        for layer in self.layers:
            x = layer(x, self.place, keys, memory)
        return self.classes(x), self.boxes(x)
