"""Distillation: what is attached to a student while it trains."""

from kd3d.distill.hook import DistillHook

__all__ = ["DistillHook"]
