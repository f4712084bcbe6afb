"""ResNets (He et al., 2016) and what is published on top of them, by their layer tables.

SSD-ResNet34 at 1200 x 1200 is MLPerf Inference's; the shapes of its outputs and its 433.4 GFLOPs
are published with the model. NanoSAM's encoder puts five convolutions and one transposed one on
ResNet-18, as its repository describes.
"""

import torch
from torch import Tensor, nn

BLOCKS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
}
SSD_ANCHORS = (4, 6, 6, 6, 4, 4)
SSD_CLASSES = 81


def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Convolution and batch norm, without activation."""
    padding = kernel // 2 * dilation
    return nn.Sequential(
        nn.Conv2d(
            inputs, outputs, kernel, stride, padding, dilation=dilation, groups=groups, bias=False
        ),
        nn.BatchNorm2d(outputs),
    )


def conv_norm_relu(
    inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Convolution, batch norm and ReLU."""
    layers = conv_norm(inputs, outputs, kernel, stride, groups=groups, dilation=dilation)
    return nn.Sequential(*layers, nn.ReLU())


class Residual(nn.Module):
    """A basic or bottleneck block."""

    def __init__(
        self, kind: str, inputs: int, width: int, stride: int = 1, *, groups: int = 1
    ) -> None:
        super().__init__()
        if kind == "basic":
            outputs = width
            self.body = nn.Sequential(
                conv_norm_relu(inputs, width, 3, stride), conv_norm(width, outputs, 3)
            )
        else:
            outputs, inner = 4 * width, width if groups == 1 else 2 * width  # ResNeXt 32x4d
            self.body = nn.Sequential(
                conv_norm_relu(inputs, inner, 1),
                conv_norm_relu(inner, inner, 3, stride, groups=groups),
                conv_norm(inner, outputs, 1),
            )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride)
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, H', W')."""
        out: Tensor = (self.body(x) + self.shortcut(x)).relu()
        return out


def residual_stage(
    kind: str, inputs: int, width: int, blocks: int, stride: int, *, groups: int = 1
) -> nn.Sequential:
    """Blocks in a row, the first with the stride."""
    layers = [Residual(kind, inputs, width, stride, groups=groups)]
    outputs = layers[0].outputs
    layers += [Residual(kind, outputs, width, groups=groups) for _ in range(blocks - 1)]
    return nn.Sequential(*layers)


class ResNet(nn.Module):
    """The backbone: outputs of its stages, strides 4 to 32.

    Args:
        depth: 18, 34, 50 or 101.
        stages: how many are built.
        strides: of each stage.
        groups: 32 is ResNeXt 32x4d.
    """

    def __init__(
        self,
        depth: int,
        *,
        stages: int = 4,
        strides: tuple[int, ...] = (1, 2, 2, 2),
        groups: int = 1,
    ) -> None:
        super().__init__()
        kind, counts = BLOCKS[depth]
        grows = 1 if kind == "basic" else 4
        self.stem = nn.Sequential(conv_norm_relu(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1))
        inputs = [64, *(64 * 2**stage * grows for stage in range(stages - 1))]
        self.stages = nn.ModuleList(
            residual_stage(
                kind, inputs[stage], 64 * 2**stage, counts[stage], strides[stage], groups=groups
            )
            for stage in range(stages)
        )
        self.channels = [64 * 2**stage * grows for stage in range(stages)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to a map a stage."""
        x, found = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class Classifier(nn.Module):
    """A ResNet, global average and 1000 classes."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.backbone = ResNet(depth)
        self.linear = nn.Linear(self.backbone.channels[-1], 1000)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 1000)."""
        out: Tensor = self.linear(self.backbone(images)[-1].mean((2, 3)))
        return out


class SsdResNet34(nn.Module):
    """MLPerf's: three stages, the third without stride, five extra levels, strided heads."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet(34, stages=3, strides=(1, 2, 1))
        rows = [(256, 256, 512), (512, 256, 512), (512, 128, 256), (256, 128, 256), (256, 128, 256)]
        self.extra = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, inner, 1),
                nn.ReLU(),
                nn.Conv2d(inner, outputs, 3, 1 if last else 2, 0 if last else 1),
                nn.ReLU(),
            )
            for (inputs, inner, outputs), last in zip(rows, (0, 0, 0, 0, 1), strict=True)
        )
        widths = [256, *(outputs for _, _, outputs in rows)]
        strides = (3, 3, 3, 3, 3, 3)
        layers = list(zip(widths, SSD_ANCHORS, strides, strict=True))
        self.boxes = nn.ModuleList(nn.Conv2d(c, 4 * n, 3, s, 1) for c, n, s in layers)
        self.classes = nn.ModuleList(nn.Conv2d(c, SSD_CLASSES * n, 3, s, 1) for c, n, s in layers)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 1200, 1200) to boxes (B, 4, 15130) and class scores (B, 81, 15130)."""
        levels = [self.backbone(images)[-1]]
        for layer in self.extra:
            levels.append(layer(levels[-1]))
        B = int(images.shape[0])
        boxes = [head(x).view(B, 4, -1) for head, x in zip(self.boxes, levels, strict=True)]
        classes = [
            head(x).view(B, SSD_CLASSES, -1) for head, x in zip(self.classes, levels, strict=True)
        ]
        return torch.cat(boxes, 2), torch.cat(classes, 2)


class NanoSam(nn.Module):
    """NanoSAM's image encoder: ResNet-18 to (B, 256, H/16, W/16)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet(18)
        layers: list[nn.Module] = []
        for inputs in (512, 256, 256):
            layers += [nn.Conv2d(inputs, 256, 3, padding=1), nn.GELU()]
        layers += [nn.ConvTranspose2d(256, 256, 3, 2, 1, 1), nn.GELU()]
        layers += [nn.Conv2d(256, 256, 3, padding=1), nn.GELU(), nn.Conv2d(256, 256, 1)]
        self.neck = nn.Sequential(*layers)
        self.position = nn.Parameter(torch.zeros(1, 256, 64, 64))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 1024, 1024) to (B, 256, 64, 64)."""
        out: Tensor = self.neck(self.backbone(images)[-1]) + self.position
        return out


class RetinaNet(nn.Module):
    """RetinaNet (Lin et al., 2017) on a ResNet: levels 3 to 7, raw outputs."""

    def __init__(self, depth: int, *, groups: int = 1, classes: int = 80) -> None:
        super().__init__()
        self.backbone = ResNet(depth, groups=groups)
        channels = self.backbone.channels[1:]
        self.lateral = nn.ModuleList(nn.Conv2d(width, 256, 1) for width in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(256, 256, 3, padding=1) for _ in channels)
        self.coarser = nn.ModuleList(nn.Conv2d(256, 256, 3, 2, 1) for _ in range(2))
        self.upsample = nn.Upsample(scale_factor=2)
        self.classes = self._branch(9 * classes)
        self.boxes = self._branch(36)

    @staticmethod
    def _branch(outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for _ in range(4):
            layers += [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers, nn.Conv2d(256, outputs, 3, padding=1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to class maps, then box maps, of five levels each."""
        features = self.backbone(images)[1:]
        laterals = [layer(x) for layer, x in zip(self.lateral, features, strict=True)]
        for level in (1, 0):
            laterals[level] = laterals[level] + self.upsample(laterals[level + 1])
        levels = [layer(x) for layer, x in zip(self.smooth, laterals, strict=True)]
        for layer in self.coarser:
            levels.append(layer(levels[-1]))
        return (*(self.classes(x) for x in levels), *(self.boxes(x) for x in levels))


class UNet(nn.Module):
    """U-Net (Ronneberger et al., 2015) with padding, width 64, 21 classes."""

    def __init__(self) -> None:
        super().__init__()
        widths = (64, 128, 256, 512, 1024)
        self.down = nn.ModuleList(
            self._pair(inputs, width) for inputs, width in zip((3, *widths), widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(w, w // 2, 2, 2) for w in widths[:0:-1])
        self.up = nn.ModuleList(self._pair(w, w // 2) for w in widths[:0:-1])
        self.classes = nn.Conv2d(64, 21, 1)

    @staticmethod
    def _pair(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            conv_norm_relu(inputs, outputs, 3), conv_norm_relu(outputs, outputs, 3)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 21, H, W)."""
        levels = [self.down[0](images)]
        for block in self.down[1:]:
            levels.append(block(self.pool(levels[-1])))
        x = levels.pop()
        for grow, block in zip(self.grow, self.up, strict=True):
            x = block(torch.cat([levels.pop(), grow(x)], 1))
        out: Tensor = self.classes(x)
        return out
