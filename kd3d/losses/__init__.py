"""Distillation losses. Importing this package registers all of them in LOSSES."""

from kd3d.losses.attention import AttentionTransfer, attention_transfer
from kd3d.losses.channel_wise import ChannelWiseDivergence, channel_wise_divergence
from kd3d.losses.feature import FeatureAttention, FeatureL2, feature_attention, feature_l2
from kd3d.losses.logits import (
    SigmoidDivergence,
    SoftmaxDivergence,
    sigmoid_divergence,
    softmax_divergence,
)
from kd3d.losses.pearson import PearsonDistance, pearson_distance
from kd3d.losses.response import DenseResponse, dense_response

__all__ = [
    "AttentionTransfer",
    "ChannelWiseDivergence",
    "DenseResponse",
    "FeatureAttention",
    "FeatureL2",
    "PearsonDistance",
    "SigmoidDivergence",
    "SoftmaxDivergence",
    "attention_transfer",
    "channel_wise_divergence",
    "dense_response",
    "feature_attention",
    "feature_l2",
    "pearson_distance",
    "sigmoid_divergence",
    "softmax_divergence",
]
