"""kd3d: a distillation suite for autonomous driving perception."""

__version__ = "0.1.0"
