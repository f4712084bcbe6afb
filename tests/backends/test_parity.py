import numpy as np
import pytest
import torch
from torch import nn

from kd3d.backends.base import TensorSpec
from kd3d.backends.box_matching import BoxCounts, count_boxes, matching_boxes
from kd3d.backends.parity import parity, tensor_difference
from kd3d.backends.pytorch import PytorchBackend
from kd3d.backends.tolerances import Tolerances

ONE_BOX = (np.float32([[0, 0, 10, 10]]), np.float32([0.9]), np.array([1]))


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def backend(factor):
    return PytorchBackend(Scale(factor), [TensorSpec("x", (None,), "float32")], ["y"])


@pytest.mark.parametrize(
    ("expected", "received", "relative"),
    [
        ([1, -4], [1, -3], 1 / (1 + 4)),
        ([1, 4], [1, 3], 1 / 4),  # 0 is in the range
        ([-2, -4], [-2, -3], 1 / 4),
        ([4, -4], [-4, -4], 1.0),  # the farthest that two values of one tensor can be
        ([0, 0], [0, 1], 1.0),
    ],
)
def test_difference_is_largest_and_relative_to_the_range(expected, received, relative):
    difference = tensor_difference(np.float32(expected), np.float32(received))
    assert difference.max_relative == pytest.approx(relative)
    assert difference.max_abs == max(abs(np.float32(expected) - np.float32(received)))


def test_difference_of_shapes_is_infinite_and_of_nan_never_passes():
    assert tensor_difference(np.zeros(2), np.zeros(3)).max_abs == float("inf")
    feeds = [{"x": np.float32([1.0])}, {"x": np.float32([2.0])}]
    assert not parity(backend(1.0), backend(float("nan")), feeds).passed


def test_parity_takes_the_worst_over_inputs():
    feeds = [{"x": np.float32([8.0])}, {"x": np.float32([1.0])}]
    result = parity(backend(1.0), backend(1.5), feeds)
    assert result.tensors["y"].max_abs == 4.0
    assert result.tensors["y"].max_relative == 0.5
    assert not result.passed
    assert parity(
        backend(1.0), backend(1.5), feeds, tolerances=Tolerances(relative=0.5, rms=0.5)
    ).passed


@pytest.mark.parametrize(
    ("boxes", "scores", "labels", "expected"),
    [
        ([[0, 0, 10, 10]], [0.9], [1], 1),
        ([[0, 0, 10, 10]], [0.9], [2], 0),  # another class
        ([[0, 0, 10, 10]], [0.8], [1], 0),  # another score
        ([[0, 0, 10, 9.8]], [0.9], [1], 0),  # IoU 98 / 100
        ([[0, 0, 10, 9.95]], [0.9], [1], 1),  # IoU 99.5 / 100
        ([[0, 0, 10, 10], [0, 0, 10, 10]], [0.9, 0.9], [1, 1], 1),  # each box once
    ],
)
def test_matching_boxes(boxes, scores, labels, expected):
    other = (np.float32(boxes), np.float32(scores), np.array(labels))
    assert len(matching_boxes(ONE_BOX, other, Tolerances())) == expected
    assert len(matching_boxes(other, ONE_BOX, Tolerances())) == expected


def test_equal_boxes_without_area_match():
    empty = (np.float32([[3, 3, 3, 3]]), np.float32([0.5]), np.array([0]))
    assert len(matching_boxes(empty, empty, Tolerances(score=0.0))) == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 1),
        ({0: 0.009}, 1),
        ({4: -0.02}, 0),
        ({8: 0.02}, 0),  # velocity
        ({6: 2 * np.pi - 0.005}, 1),  # yaw by the shorter way
        ({6: np.pi}, 0),  # turned round
    ],
)
def test_matching_3d_boxes(change, expected):
    box = np.float32([[10, -5, 1, 4, 2, 1.5, 3.1, 1, 0]])
    other = box.copy()
    for column, difference in change.items():
        other[0, column] += difference
    scores, labels = np.float32([0.5]), np.array([2])
    pair = (box, scores, labels), (other, scores, labels)
    assert len(matching_boxes(*pair, Tolerances())) == expected


def test_rows_in_another_order_are_aligned_before_tensors_are_compared():
    feeds = [{"x": np.float32([1.0, 2.0])}]
    swapped = PytorchBackend(Swap(), [TensorSpec("x", (None,), "float32")], ["y"])
    assert not parity(backend(1.0), swapped, feeds).passed

    def align(expected, received):
        return {"y": received["y"][::-1]}

    assert parity(backend(1.0), swapped, feeds, align=align).passed


class Swap(nn.Module):
    def forward(self, x):
        return x.flip(0)


def test_too_few_matched_boxes_fail():
    def detect(outputs):
        count = int(outputs["y"][0])  # 10 boxes of the reference, 9 of the candidate
        boxes = np.float32([[20 * i, 0, 20 * i + 10, 10] for i in range(count)])
        return [(boxes, np.full(count, 0.5), np.zeros(count))]

    tolerances = Tolerances(relative=1.0, rms=1.0, matched=0.95)
    feeds = [{"x": np.float32([10.0])}]
    result = parity(backend(1.0), backend(0.9), feeds, detect=detect, tolerances=tolerances)
    assert result.boxes == BoxCounts(10, 9, 9, 9)
    assert result.matched == 0.9
    assert not result.passed


def first_wins(outputs):
    """One box, at the place of the largest value, as NMS keeps one of two that overlap."""
    best = int(outputs["y"].argmax())
    return [(np.float32([[20 * best, 0, 20 * best + 10, 10]]), np.float32([0.5]), np.zeros(1))]


class Shift(nn.Module):
    def forward(self, x):
        return x - torch.tensor([1e-6, 0.0])


@pytest.mark.parametrize(("gap", "decide"), [(5e-7, False), (0.1, True)])
def test_boxes_do_not_decide_where_scores_tie_within_the_difference(gap, decide):
    shifted = PytorchBackend(Shift(), [TensorSpec("x", (None,), "float32")], ["y"])
    feeds = [{"x": np.float32([0.5 + gap, 0.5])}] * 20
    result = parity(backend(1.0), shifted, feeds, detect=first_wins)
    assert result.matched == (1.0 if decide else 0.0)
    assert result.boxes_decide == decide
    assert result.passed


class Lower(nn.Module):
    def forward(self, x):
        return x - torch.tensor([0.5, 0.0])


def test_a_candidate_that_is_far_off_does_not_excuse_its_boxes():
    lower = PytorchBackend(Lower(), [TensorSpec("x", (None,), "float32")], ["y"])
    feeds = [{"x": np.float32([0.6, 0.5])}] * 20
    loose = Tolerances(relative=2.0, rms=2.0)
    result = parity(backend(1.0), lower, feeds, detect=first_wins, tolerances=loose)
    assert result.tensors_agree
    assert result.boxes_decide
    assert not result.passed


def test_only_confident_boxes_count_on_both_sides():
    boxes = np.float32([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    reference = boxes, np.float32([0.8, 0.5, 0.1]), np.zeros(3)
    candidate = boxes[:2], np.float32([0.79, 0.3]), np.zeros(2)
    limits = Tolerances(score=0.05, confident=0.5)  # from 0.4 on
    assert count_boxes(reference, candidate, limits) == BoxCounts(2, 1, 1, 1)
    # a strong box that the reference does not have counts against the candidate
    false = np.float32([[0, 0, 10, 10], [60, 0, 70, 10]]), np.float32([0.8, 0.7]), np.zeros(2)
    assert count_boxes(reference, false, limits) == BoxCounts(2, 2, 1, 1)


def test_values_that_are_not_finite_are_counted_and_never_parity():
    difference = tensor_difference(np.float32([1, np.inf]), np.float32([np.nan, np.inf]))
    assert difference.non_finite == 2
    result = parity(
        backend(1.0),
        backend(float("inf")),
        [{"x": np.float32([1.0, 2.0])}],
        tolerances=Tolerances(relative=float("inf"), rms=float("inf")),
    )
    assert result.tensors["y"].non_finite == 2
    assert not result.passed


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_reference_that_is_not_finite_fails_without_boxes(value):
    """Noise of infinite size cannot be drawn, and no NMS is made for such scores."""

    def detect(outputs):
        assert np.isfinite(outputs["y"]).all()
        return [ONE_BOX]

    feeds = [{"x": np.float32([1.0])}]
    for candidate in (1.0, value):
        result = parity(backend(value), backend(candidate), feeds, detect=detect)
        assert result.tensors["y"].non_finite == 1
        assert result.boxes == BoxCounts()
        assert not result.passed
