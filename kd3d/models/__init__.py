"""Backbones and detectors that mmdet lacks; importing this package registers them."""

from kd3d.models.efficientnet_lite import EfficientNetLite

__all__ = ["EfficientNetLite"]
