"""YOLOv5, v8, v10, 11 and 26, by width, depth and published layer lists.

Sources: the architecture tables of the projects' documentation and, for YOLOv10, Wang et al. (2024,
arXiv 2405.14458). ``tests/tools/test_latency_networks.py`` compares parameters and GFLOPs with
those published.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from yolo_heads import AnchorHead, DenseHead
from yolo_layers import (
    C3,
    Conv,
    PartialAttention,
    PyramidPooling,
    attentive_c3k2,
    c2f,
    c3k2,
)

Block = Callable[[int, int, int, str], nn.Module]  # inputs, outputs, repeats, place


@dataclass(frozen=True)
class Size:
    """A letter of the family: depth and width factors, and the widest stage before the factor."""

    depth: float
    width: float
    widest: int = 1024

    def channels(self, base: int) -> int:
        """A layer's width, a multiple of 8."""
        return int(-(-min(base, self.widest) * self.width // 8) * 8)

    def repeats(self, base: int) -> int:
        """How often a block is repeated, at least once."""
        return max(round(base * self.depth), 1) if base > 1 else base


YOLOV5 = {"n": Size(0.33, 0.25), "s": Size(0.33, 0.5), "m": Size(0.67, 0.75)}
YOLOV8 = {
    "n": Size(0.33, 0.25),
    "s": Size(0.33, 0.5),
    "m": Size(0.67, 0.75, 768),
    "l": Size(1.0, 1.0, 512),
    "x": Size(1.0, 1.25, 512),
}
YOLO11 = {
    "n": Size(0.5, 0.25),
    "s": Size(0.5, 0.5),
    "m": Size(0.5, 1.0, 512),
    "l": Size(1.0, 1.0, 512),
    "x": Size(1.0, 1.5, 512),
}
YOLO26 = YOLO11


class Yolo(nn.Module):
    """Backbone, neck down and up, and head: the data flow that all of these share.

    Args:
        stages: five downsampling steps with their blocks; the last ends with pooling.
        down: what joins level 5 to 4, then 4 to 3; up: what joins 3 to 4, then 4 to 5.
        lateral: before each upsampling; identities but in YOLOv5.
        stride: the convolutions that halve the map on the way up.
        head: takes the three levels.
    """

    def __init__(
        self,
        stages: list[nn.Module],
        *,
        down: list[nn.Module],
        up: list[nn.Module],
        lateral: list[nn.Module],
        stride: list[nn.Module],
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
        self.lateral, self.stride = nn.ModuleList(lateral), nn.ModuleList(stride)
        self.upsample = nn.Upsample(scale_factor=2)
        self.head = head

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(B, 3, H, W) to what the head gives."""
        levels, x = [], images
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        fine, middle, x = levels[-3:]
        x5 = self.lateral[0](x)
        x4 = self.lateral[1](self.down[0](torch.cat([self.upsample(x5), middle], 1)))
        out3 = self.down[1](torch.cat([self.upsample(x4), fine], 1))
        out4 = self.up[0](torch.cat([self.stride[0](out3), x4], 1))
        out5 = self.up[1](torch.cat([self.stride[1](out4), x5], 1))
        out: Tensor | tuple[Tensor, ...] = self.head([out3, out4, out5])
        return out


def yolov5(letter: str, *, decode: bool = True) -> Yolo:
    """YOLOv5 6.x."""
    size = YOLOV5[letter]
    c1, c2, c3, c4, c5 = (size.channels(base) for base in (64, 128, 256, 512, 1024))
    n3, n6, n9 = (size.repeats(base) for base in (3, 6, 9))
    return Yolo(
        [
            Conv(3, c1, 6, 2, padding=2),
            nn.Sequential(Conv(c1, c2, 3, 2), C3(c2, c2, n3)),
            nn.Sequential(Conv(c2, c3, 3, 2), C3(c3, c3, n6)),
            nn.Sequential(Conv(c3, c4, 3, 2), C3(c4, c4, n9)),
            nn.Sequential(Conv(c4, c5, 3, 2), C3(c5, c5, n3), PyramidPooling(c5, c5)),
        ],
        down=[C3(2 * c4, c4, n3, shortcut=False), C3(2 * c3, c3, n3, shortcut=False)],
        up=[C3(2 * c3, c4, n3, shortcut=False), C3(2 * c4, c5, n3, shortcut=False)],
        lateral=[Conv(c5, c4), Conv(c4, c3)],
        stride=[Conv(c3, c3, 3, 2), Conv(c4, c4, 3, 2)],
        head=AnchorHead((c3, c4, c5), decode=decode),
    )


def yolov8(letter: str) -> Yolo:
    """YOLOv8."""
    size = YOLOV8[letter]

    def block(inputs: int, outputs: int, base: int, place: str) -> nn.Module:
        return c2f(inputs, outputs, size.repeats(base), shortcut=place == "backbone")

    c1, c2, c3, c4, c5 = (size.channels(base) for base in (64, 128, 256, 512, 1024))
    stages = _stages(
        block, c1, [(c1, c2, c2, 3), (c2, c3, c3, 6), (c3, c4, c4, 6), (c4, c5, c5, 3)]
    )
    stages[-1] = nn.Sequential(stages[-1], PyramidPooling(c5, c5))
    head = DenseHead((c3, c4, c5), bins=16, light=False, end_to_end=False)
    return _anchor_free(block, (c3, c4, c5), stages, head, repeats=3)


def yolo11(letter: str) -> Yolo:
    """YOLO11."""
    return _with_attention(letter, YOLO11[letter], newer=False)


def yolo26(letter: str) -> Yolo:
    """YOLO26, its one-to-one head alone, as exported."""
    return _with_attention(letter, YOLO26[letter], newer=True)


def _with_attention(letter: str, size: Size, *, newer: bool) -> Yolo:
    large = letter in "mlx"  # these nest a C3k in every block

    def block(inputs: int, outputs: int, base: int, place: str) -> nn.Module:
        repeats = size.repeats(base)
        if place == "early":
            return c3k2(inputs, outputs, repeats, nested=large, expansion=0.25)
        if place == "last" and newer:
            return attentive_c3k2(inputs, outputs, 1)
        nested = large or newer or place in ("backbone", "last")
        return c3k2(inputs, outputs, repeats, nested=nested)

    c1, c2, c3, c4, c5 = (size.channels(base) for base in (64, 128, 256, 512, 1024))
    stages: list[nn.Module] = [
        Conv(3, c1, 3, 2),
        nn.Sequential(Conv(c1, c2, 3, 2), block(c2, c3, 2, "early")),
        nn.Sequential(Conv(c3, c3, 3, 2), block(c3, c4, 2, "early")),
        nn.Sequential(Conv(c4, c4, 3, 2), block(c4, c4, 2, "backbone")),
        nn.Sequential(
            Conv(c4, c5, 3, 2),
            block(c5, c5, 2, "backbone"),
            PyramidPooling(c5, c5, shortcut=newer),
            PartialAttention(c5, size.repeats(2)),
        ),
    ]
    bins = 1 if newer else 16
    head = DenseHead((c3, c4, c5), bins=bins, light=True, end_to_end=newer)
    return _anchor_free(block, (c3, c4, c5), stages, head, repeats=2, fine=c4)


def _stages(block: Block, stem: int, rows: list[tuple[int, int, int, int]]) -> list[nn.Module]:
    stages: list[nn.Module] = [Conv(3, stem, 3, 2)]
    for inputs, middle, outputs, base in rows:
        down = Conv(inputs, middle, 3, 2)
        stages.append(nn.Sequential(down, block(middle, outputs, base, "backbone")))
    return stages


def _anchor_free(
    block: Block,
    channels: tuple[int, int, int],
    stages: list[nn.Module],
    head: nn.Module,
    *,
    repeats: int,
    fine: int | None = None,
) -> Yolo:
    c3, c4, c5 = channels
    return Yolo(
        stages,
        down=[
            block(c5 + c4, c4, repeats, "neck"),
            block(c4 + (fine or c3), c3, repeats, "neck"),
        ],
        up=[block(c3 + c4, c4, repeats, "neck"), block(c4 + c5, c5, repeats, "last")],
        lateral=[nn.Identity(), nn.Identity()],
        stride=[Conv(c3, c3, 3, 2), Conv(c4, c4, 3, 2)],
        head=head,
    )
