"""Distillation losses, and masks of where they look.

Importing this package registers all of them in LOSSES and MASKS.
"""

from kd3d.losses.affinity import Affinity, affinity_distance
from kd3d.losses.anchor_response import AnchorResponse, anchor_response
from kd3d.losses.attention import AttentionTransfer, attention_transfer
from kd3d.losses.bev import BevFeature, bev_feature
from kd3d.losses.box_points import BoxPoints, box_point_distance
from kd3d.losses.channel_wise import ChannelWiseDivergence, channel_wise_divergence
from kd3d.losses.feature import FeatureAttention, FeatureL2, feature_attention, feature_l2
from kd3d.losses.heatmap import HeatmapResponse, heatmap_response
from kd3d.losses.logits import (
    SigmoidDivergence,
    SoftmaxDivergence,
    sigmoid_divergence,
    softmax_divergence,
)
from kd3d.losses.masks import GaussianForeground, RegionMask, gaussian_foreground
from kd3d.losses.pearson import PearsonDistance, pearson_distance
from kd3d.losses.response import DenseResponse, dense_response

__all__ = [
    "Affinity",
    "AnchorResponse",
    "AttentionTransfer",
    "BevFeature",
    "BoxPoints",
    "ChannelWiseDivergence",
    "DenseResponse",
    "FeatureAttention",
    "FeatureL2",
    "GaussianForeground",
    "HeatmapResponse",
    "PearsonDistance",
    "RegionMask",
    "SigmoidDivergence",
    "SoftmaxDivergence",
    "affinity_distance",
    "anchor_response",
    "attention_transfer",
    "bev_feature",
    "box_point_distance",
    "channel_wise_divergence",
    "dense_response",
    "feature_attention",
    "feature_l2",
    "gaussian_foreground",
    "heatmap_response",
    "pearson_distance",
    "sigmoid_divergence",
    "softmax_divergence",
]
