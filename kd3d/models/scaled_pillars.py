"""A pillar encoder whose inputs are brought to one size first.

PillarFeatureNet feeds a linear layer with positions of tens of metres and intensities up to 255
beside offsets of a few centimetres within the pillar. Long trainings find the offsets all the same;
one of minutes does not, and leaves boxes half a cell off.

For MMDetection3D only: importing this module imports it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet3d.models.voxel_encoders import PillarFeatureNet
from torch import nn

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
        first = self.pfn_layers[0]
        if len(feature_scale) != first.linear.in_features:
            raise UserError(
                f"ScaledPillarFeatureNet: expected {first.linear.in_features} factors in "
                f"feature_scale, one for each input of its first layer, got {len(feature_scale)}"
            )
        # not persistent: checkpoints keep PillarFeatureNet's keys
        first.register_buffer("input_scale", torch.tensor(feature_scale), persistent=False)
        first.register_forward_pre_hook(_scaled)


def _scaled(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inputs[0] * layer.input_scale, *inputs[1:])
