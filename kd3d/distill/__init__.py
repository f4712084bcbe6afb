"""Distillation: what is attached to a student while it trains."""

from kd3d.distill.hook import DistillHook
from kd3d.distill.quantization_aware import QuantizationAwareHook

__all__ = ["DistillHook", "QuantizationAwareHook"]
