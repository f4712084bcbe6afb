"""Detection heads in the one form that losses and export read."""

from kd3d.heads.dense import dense_prediction
from kd3d.heads.prediction import DensePrediction

__all__ = ["DensePrediction", "dense_prediction"]
