"""Bird's-eye-view networks: CenterPoint's and PointPillars' dense parts, BEVDet's stages.

CenterPoint (Yin et al., 2021) as NVIDIA's CUDA-CenterPoint deploys it, from the sparse backbone's
map on; PointPillars (Lang et al., 2019) for KITTI as CUDA-PointPillars' "Backbone & Head", which
begins with the points of each pillar; BEVDet4D (Huang et al., 2022) with ResNet-50, long-term
fusion and a depth net (Li et al., 2023), from the configs of bevdet-tensorrt-cpp.
"""

from collections.abc import Sequence

import torch
from residual_networks import Residual, ResNet, conv_norm_relu, residual_stage
from torch import Tensor, nn

CENTER_OUTPUTS = (2, 1, 3, 2, 2)  # offset, height, size, rotation, velocity


class SecondBackbone(nn.Module):
    """SECOND's plain convolutions, and upsampling to one map (Yan et al., 2018).

    Args:
        inputs: channels of the canvas.
        channels: of each stage.
        layers: convolutions of each stage after its first.
        strides: of each stage.
        ups: scale of each stage's map in the joined one.
        out: channels of each in it.
    """

    def __init__(
        self,
        inputs: int,
        channels: Sequence[int],
        layers: Sequence[int],
        strides: Sequence[int],
        ups: Sequence[int],
        out: int,
    ) -> None:
        super().__init__()
        self.stages, self.ups = nn.ModuleList(), nn.ModuleList()
        for width, count, stride, up in zip(channels, layers, strides, ups, strict=True):
            rest = (conv_norm_relu(width, width, 3) for _ in range(count))
            self.stages.append(nn.Sequential(conv_norm_relu(inputs, width, 3, stride), *rest))
            grow: nn.Module = nn.ConvTranspose2d(width, out, up, up, bias=False)
            self.ups.append(nn.Sequential(grow, nn.BatchNorm2d(out), nn.ReLU()))
            inputs = width

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, len(ups) * out, H', W')."""
        maps = []
        for stage, up in zip(self.stages, self.ups, strict=True):
            x = stage(x)
            maps.append(up(x))
        return torch.cat(maps, 1)


class CenterHead(nn.Module):
    """One shared convolution, then two for each output of each task."""

    def __init__(self, inputs: int, tasks: Sequence[int]) -> None:
        super().__init__()
        self.shared = conv_norm_relu(inputs, 64, 3)
        self.heads = nn.ModuleList(
            nn.Sequential(conv_norm_relu(64, 64, 3), nn.Conv2d(64, outputs, 3, padding=1))
            for classes in tasks
            for outputs in (*CENTER_OUTPUTS, classes)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) to a map for each output of each task."""
        x = self.shared(x)
        return tuple(head(x) for head in self.heads)


def centerpoint_dense() -> nn.Module:
    """RPN and head of CenterPoint-voxel for nuScenes, on (B, 256, 180, 180)."""
    backbone = SecondBackbone(256, (128, 256), (5, 5), (1, 2), (1, 2), 256)
    return nn.Sequential(backbone, CenterHead(512, (1, 2, 2, 1, 2, 2)))


class PointPillars(nn.Module):
    """PointPillars for KITTI, from 10 features of each point to the anchor head's maps.

    NVIDIA's engine scatters by a plugin of its own; here it is plain indexing (ScatterND).
    """

    def __init__(self, rows: int = 496, columns: int = 432) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        self.points = nn.Linear(10, 64, bias=False)
        self.norm = nn.BatchNorm1d(64)
        self.backbone = SecondBackbone(64, (64, 128, 256), (3, 5, 5), (2, 2, 2), (1, 2, 4), 128)
        self.heads = nn.ModuleList(nn.Conv2d(384, outputs, 1) for outputs in (18, 42, 12))

    def forward(self, pillars: Tensor, cells: Tensor) -> tuple[Tensor, ...]:
        """Points (N, 32, 10) of pillars and their cells (N,) to maps, channels last.

        Returns:
            Classes, boxes and directions of each cell, (1, H', W', K) each.
        """
        features = self.norm(self.points(pillars.flatten(0, 1))).relu()
        features = features.unflatten(0, pillars.shape[:2]).amax(1)
        canvas = torch.zeros(self.rows * self.columns, 64).index_put((cells,), features)
        x = self.backbone(canvas.T.reshape(1, 64, self.rows, self.columns))
        return tuple(head(x).permute(0, 2, 3, 1) for head in self.heads)


class DepthNet(nn.Module):
    """BEVDepth's depth and context branches, both gated by the camera's parameters."""

    def __init__(self, width: int = 256, bins: int = 118, context: int = 80) -> None:
        super().__init__()
        self.reduce = conv_norm_relu(width, width, 3)
        self.cameras = nn.ModuleList(
            nn.Sequential(nn.Linear(27, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(2)
        )
        self.gates = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.Sigmoid()
            )
            for _ in range(2)
        )
        self.context = nn.Conv2d(width, context, 1)
        self.blocks = nn.Sequential(*(Residual("basic", width, width) for _ in range(3)))
        self.atrous = nn.ModuleList(
            conv_norm_relu(width, width, 1 if dilation == 1 else 3, dilation=dilation)
            for dilation in (1, 6, 12, 18)
        )
        self.pooled = conv_norm_relu(width, width, 1)
        self.join = conv_norm_relu(5 * width, width, 1)
        self.depth = nn.Conv2d(width, bins, 1)

    def forward(self, x: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor]:
        """Features (V, C, H, W) and cameras (V, 27) to depth (V, D, H, W) and context."""
        x = self.reduce(x)
        gated = [
            x * gate(camera(cameras)[..., None, None])
            for gate, camera in zip(self.gates, self.cameras, strict=True)
        ]
        depth = self.blocks(gated[0])
        mean = self.pooled(depth.mean((2, 3), keepdim=True))
        spread = nn.functional.interpolate(mean, size=[int(n) for n in depth.shape[2:]])
        joined = [*(layer(depth) for layer in self.atrous), spread]
        return self.depth(self.join(torch.cat(joined, 1))).softmax(1), self.context(gated[1])


class BevDetImageStage(nn.Module):
    """ResNet-50, a two-level neck and the depth net."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNet(50)
        self.lateral = nn.ModuleList(nn.Conv2d(width, 256, 1) for width in (1024, 2048))
        self.upsample = nn.Upsample(scale_factor=2)
        self.smooth = nn.Conv2d(256, 256, 3, padding=1)
        self.depth = DepthNet()

    def forward(self, images: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor]:
        """(V, 3, 256, 704) and (V, 27) to depth and context at stride 16."""
        fine, coarse = (
            layer(x) for layer, x in zip(self.lateral, self.backbone(images)[2:], strict=True)
        )
        found: tuple[Tensor, Tensor] = self.depth(
            self.smooth(fine + self.upsample(coarse)), cameras
        )
        return found


class BevDetBevStage(nn.Module):
    """Encoder and head over nine aligned maps of 80 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            residual_stage("basic", inputs, width, 2, 2)
            for inputs, width in ((720, 160), (160, 320), (320, 640))
        )
        self.fourfold = nn.Upsample(scale_factor=4, mode="bilinear", align_corners=True)
        self.twofold = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.join = nn.Sequential(conv_norm_relu(800, 512, 3), conv_norm_relu(512, 512, 3))
        self.last = nn.Sequential(conv_norm_relu(512, 256, 3), nn.Conv2d(256, 256, 1))
        self.head = CenterHead(256, (10,))  # one task of all classes, as its configs have it

    def forward(self, bev: Tensor) -> tuple[Tensor, ...]:
        """(B, 720, 128, 128) to the head's maps."""
        maps, x = [], bev
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        x = self.join(torch.cat([maps[0], self.fourfold(maps[2])], 1))
        found: tuple[Tensor, ...] = self.head(self.last(self.twofold(x)))
        return found
