"""Backbones and detectors that mmdet lacks; importing this package registers them."""

from kd3d.models.channels_last import ChannelsLastHook
from kd3d.models.efficientnet_lite import EfficientNetLite
from kd3d.models.separate_heads import InitSeparateHeads

__all__ = ["ChannelsLastHook", "EfficientNetLite", "InitSeparateHeads"]
