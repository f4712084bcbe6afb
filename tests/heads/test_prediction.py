"""Scores of a DensePrediction against probabilities worked out by hand."""

import math

import pytest
import torch

from kd3d.heads import DensePrediction

BOXES = torch.zeros(1, 1, 4)
LOG3 = math.log(3.0)  # sigmoid(log 3) = 3/4


def test_sigmoid_scores_are_multiplied_by_objectness():
    logits = torch.tensor([[[LOG3, -LOG3]]])
    plain = DensePrediction(logits, BOXES)
    assert plain.scores().flatten().tolist() == pytest.approx([3 / 4, 1 / 4])
    with_objectness = DensePrediction(logits, BOXES, objectness=torch.tensor([[-LOG3]]))
    assert with_objectness.scores().flatten().tolist() == pytest.approx([3 / 16, 1 / 16])


def test_softmax_scores_leave_the_background_out():
    logits = torch.tensor([[[math.log(2.0), math.log(3.0), math.log(5.0)]]])
    prediction = DensePrediction(logits, BOXES, softmax=True)
    assert prediction.scores().flatten().tolist() == pytest.approx([2 / 10, 3 / 10])
