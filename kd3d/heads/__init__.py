"""Detection heads in the one form that losses, masks and export read."""

from typing import Any

from torch import nn

from kd3d.bev_grid import BevGrid
from kd3d.heads.anchor3d import Anchor3DPrediction, anchor3d_prediction
from kd3d.heads.center import CenterPrediction, center_prediction
from kd3d.heads.dense import DensePrediction, dense_prediction

__all__ = [
    "Anchor3DPrediction",
    "CenterPrediction",
    "DensePrediction",
    "anchor3d_prediction",
    "center_prediction",
    "dense_prediction",
    "prediction_of",
]


def prediction_of(
    head: nn.Module, value: Any, *, grid: BevGrid | None = None
) -> DensePrediction | CenterPrediction | Anchor3DPrediction:
    """Decodes what a head of MMDetection or MMDetection3D returned.

    A head is known by the name of its class or of a parent; nothing of mm* is imported.

    Args:
        head: the tapped module.
        value: what its forward returned.
        grid: of a BEV head, where its map lies in metres; None for images.

    Raises:
        UserError: if the head's decoding is not known here.
    """
    families = {base.__name__ for base in type(head).__mro__}
    if "CenterHead" in families:
        return center_prediction(head, value, grid=grid)
    if "Anchor3DHead" in families:
        return anchor3d_prediction(head, value, grid=grid)
    return dense_prediction(head, value)
