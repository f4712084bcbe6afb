"""Distillation losses, and masks of where they look.

Importing this package registers all of them in LOSSES and MASKS.
"""

from kd3d.losses.attention import AttentionTransfer, attention_transfer
from kd3d.losses.bev import BevFeature, bev_feature
from kd3d.losses.channel_wise import ChannelWiseDivergence, channel_wise_divergence
from kd3d.losses.feature import FeatureAttention, FeatureL2, feature_attention, feature_l2
from kd3d.losses.heatmap import HeatmapResponse, heatmap_response
from kd3d.losses.logits import (
    SigmoidDivergence,
    SoftmaxDivergence,
    sigmoid_divergence,
    softmax_divergence,
)
from kd3d.losses.masks import GaussianForeground, gaussian_foreground
from kd3d.losses.pearson import PearsonDistance, pearson_distance
from kd3d.losses.response import DenseResponse, dense_response

__all__ = [
    "AttentionTransfer",
    "BevFeature",
    "ChannelWiseDivergence",
    "DenseResponse",
    "FeatureAttention",
    "FeatureL2",
    "GaussianForeground",
    "HeatmapResponse",
    "PearsonDistance",
    "SigmoidDivergence",
    "SoftmaxDivergence",
    "attention_transfer",
    "bev_feature",
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
