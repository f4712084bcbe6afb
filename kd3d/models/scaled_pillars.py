"""A pillar encoder whose inputs are brought to one size first.

PillarFeatureNet feeds a linear layer with positions of tens of metres and intensities up to 255
beside offsets of a few centimetres within the pillar. Long trainings find the offsets all the
same; one of minutes does not, and leaves boxes half a cell off. On a CPU it also trains in a third
of the time: a batch norm over (P, C, M), P pillars of M points, is slow where M is small.

For MMDetection3D only: importing this module imports it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet3d.models.voxel_encoders import PillarFeatureNet
from mmdet3d.models.voxel_encoders.utils import PFNLayer
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from kd3d.errors import UserError
from kd3d.registry import MODELS


@MODELS.register_module()
class ScaledPillarFeatureNet(PillarFeatureNet):
    """``PillarFeatureNet`` with fixed factors on what its first layer reads.

    Args:
        feature_scale: one factor for each input of the first layer, in its order: the point's own
            values (x y z intensity ...), its offset to the mean of the pillar's points (x y z) and
            to the pillar's centre (x y z). The reciprocal of what is usual makes all of size 1.
        settings: of ``PillarFeatureNet``.

    Raises:
        UserError: if there are more or fewer factors than inputs.
    """

    def __init__(self, *, feature_scale: Sequence[float], **settings: Any) -> None:
        super().__init__(**settings)
        if isinstance(self.pfn_layers[-1].norm, _BatchNorm):
            self.pfn_layers[-1] = _LastLayer(self.pfn_layers[-1])
        first = self.pfn_layers[0]
        if len(feature_scale) != first.linear.in_features:
            raise UserError(
                f"ScaledPillarFeatureNet: expected {first.linear.in_features} factors in "
                f"feature_scale, one for each input of its first layer, got {len(feature_scale)}"
            )
        # not persistent: checkpoints keep PillarFeatureNet's keys
        first.register_buffer("input_scale", torch.tensor(feature_scale), persistent=False)
        first.register_forward_pre_hook(_scaled)


class _LastLayer(nn.Module):
    """The last ``PFNLayer``, its batch norm over rows of points, ReLU after the pillar's maximum.

    The values are the layer's up to rounding, and the keys of a checkpoint are the same.
    """

    last_vfe = True  # PFNLayer's name for it

    def __init__(self, layer: PFNLayer) -> None:
        super().__init__()
        self.linear, self.norm, self.mode = layer.linear, layer.norm, layer.mode

    def forward(self, inputs: Tensor, num_points: Tensor) -> Tensor:
        """(P, M, C) inputs and (P,) numbers of points to (P, 1, C') features."""
        points = self.norm(self.linear(inputs.flatten(0, 1))).unflatten(0, inputs.shape[:2])
        if self.mode == "max":
            return functional.relu(points.max(1, keepdim=True).values)
        return functional.relu(points).sum(1, keepdim=True) / num_points.view(-1, 1, 1)


def _scaled(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inputs[0] * layer.input_scale, *inputs[1:])
