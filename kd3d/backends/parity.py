"""Do two backends agree: tensor by tensor, then on the boxes after NMS?"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd3d.backends.base import Array, Backend, Feeds

BoxArrays = tuple[Array, Array, Array]
"""Of one image: boxes (M, 4) x1 y1 x2 y2, scores (M,), labels (M,).
Of one LiDAR frame: boxes (M, 7 or more) x y z dx dy dz yaw in metres and radians."""

Detect = Callable[[Mapping[str, Array]], Sequence[BoxArrays]]
"""Outputs of a backend to the final boxes of each image in the batch."""

Align = Callable[[Mapping[str, Array], Mapping[str, Array]], Mapping[str, Array]]
"""(reference's outputs, candidate's) to the candidate's in the order of the reference."""


@dataclass(frozen=True)
class Tolerances:
    """What still counts as equal.

    Attributes:
        relative: largest difference of a tensor as a share of its largest value.
        iou: least overlap of two boxes in an image that are the same box.
        box: largest difference of two 3D boxes that are the same, in any of their values: metres,
            radians, m/s.
        score: largest difference of their scores.
        matched: least share of the final boxes of both sides that have a partner. Not 1: where
            two boxes overlap by the NMS threshold or tie, the last digit decides which stays.
    """

    relative: float = 1e-3
    iou: float = 0.99
    box: float = 0.01
    score: float = 1e-3
    matched: float = 0.98


@dataclass(frozen=True)
class TensorDifference:
    """Largest difference over all inputs; relative to the largest value of the reference."""

    max_abs: float
    max_relative: float


@dataclass(frozen=True)
class Parity:
    """What was compared and whether it agreed.

    Attributes:
        tensors: difference by output name.
        inputs: how many sets of inputs were run.
        reference_boxes: final boxes of the reference over all inputs.
        candidate_boxes: the same of the candidate.
        matched_boxes: pairs of them with equal label, IoU and score within tolerance.
        stable_boxes: the same between the reference and itself with noise of the size of the
            tensors' differences.
        tolerances: what was asked.
    """

    tensors: Mapping[str, TensorDifference]
    inputs: int
    reference_boxes: int
    candidate_boxes: int
    matched_boxes: int
    stable_boxes: int
    tolerances: Tolerances

    @property
    def matched(self) -> float:
        """Share of the final boxes that have a partner, 1 where there are none at all."""
        boxes = max(self.reference_boxes, self.candidate_boxes)
        return self.matched_boxes / boxes if boxes else 1.0

    @property
    def boxes_decide(self) -> bool:
        """Whether the boxes say anything: the reference's own survive noise of that size.

        They do not where scores tie, as nearly all of an untrained detector's do: which of two
        equal boxes NMS keeps is then a matter of the last digit.
        """
        return self.stable_boxes >= self.tolerances.matched * self.reference_boxes

    @property
    def passed(self) -> bool:
        """Every tensor, and enough boxes if they decide, are within tolerance (nan is never)."""
        tensors = all(
            difference.max_relative <= self.tolerances.relative
            for difference in self.tensors.values()
        )
        return tensors and (self.matched >= self.tolerances.matched or not self.boxes_decide)


def parity(
    reference: Backend,
    candidate: Backend,
    inputs: Iterable[Feeds],
    *,
    detect: Detect | None = None,
    align: Align | None = None,
    tolerances: Tolerances | None = None,
) -> Parity:
    """Runs both backends on the same inputs and compares.

    Args:
        reference: what is taken as right.
        candidate: what is questioned; has the same output names.
        inputs: sets of inputs; at least one.
        detect: final boxes from outputs; None compares tensors only.
        align: where the order of rows is free (the best of many), puts them in one order before
            tensors and boxes are compared.
        tolerances: what counts as equal.
    """
    tolerances = tolerances or Tolerances()
    worst: dict[str, TensorDifference] = {}
    sets = list(inputs)
    assert sets, "parity needs at least one set of inputs"
    counts = np.zeros(4, dtype=int)
    generator = np.random.default_rng(0)
    with reference, candidate:
        assert set(reference.output_names) == set(candidate.output_names)
        for feeds in sets:
            expected = reference.infer(feeds)
            received: Mapping[str, Array] = candidate.infer(feeds)
            if align is not None:
                received = align(expected, received)
            differences = {n: tensor_difference(expected[n], received[n]) for n in expected}
            worst = {n: _worse(worst.get(n), difference) for n, difference in differences.items()}
            if detect is not None:
                noisy = _with_noise(expected, differences, generator)
                counts += _count_boxes([expected, received, noisy], detect, tolerances)
    found, others, matched, stable = (int(count) for count in counts)
    return Parity(worst, len(sets), found, others, matched, stable, tolerances)


def _count_boxes(
    outputs: Sequence[Mapping[str, Array]], detect: Detect, tolerances: Tolerances
) -> NDArray[np.int64]:
    """Boxes of the reference, of the candidate, their pairs, and the reference's under noise."""
    ours, theirs, noisy = (detect(tensors) for tensors in outputs)

    def pairs(others: Sequence[BoxArrays]) -> int:
        return sum(matching_boxes(a, b, tolerances) for a, b in zip(ours, others, strict=True))

    found, others = (sum(len(image[1]) for image in images) for images in (ours, theirs))
    return np.array([found, others, pairs(theirs), pairs(noisy)])


def _with_noise(
    tensors: Mapping[str, Array],
    differences: Mapping[str, TensorDifference],
    generator: np.random.Generator,
) -> dict[str, Array]:
    """Adds uniform noise of twice the largest difference; a difference without end adds none.

    Twice, because uniform noise is milder than a difference that follows the values.
    """
    noisy = {}
    for name, array in tensors.items():
        size = differences[name].max_abs
        size = 2 * size if np.isfinite(size) else 0.0
        noisy[name] = (array + generator.uniform(-size, size, array.shape)).astype(array.dtype)
    return noisy


def tensor_difference(expected: Array, received: Array) -> TensorDifference:
    """Largest absolute difference, alone and as a share of the largest expected value.

    Tensors of different shape differ by infinity.
    """
    if expected.shape != received.shape:
        return TensorDifference(float("inf"), float("inf"))
    if not expected.size:
        return TensorDifference(0.0, 0.0)
    expected, received = expected.astype(np.float64), received.astype(np.float64)
    largest = float(np.abs(expected - received).max())
    scale = float(np.abs(expected).max())
    return TensorDifference(largest, largest / scale if scale else largest)


def matching_boxes(first: BoxArrays, second: BoxArrays, tolerances: Tolerances) -> int:
    """Pairs of boxes with equal label, close scores, and the same place within tolerance.

    Each box is used once; boxes of ``first`` choose in order.
    """
    if not len(first[1]) or not len(second[1]):
        return 0
    boxes = first[0].astype(np.float64), second[0].astype(np.float64)
    if boxes[0].shape[1] == 4:
        near = _iou(*boxes) - tolerances.iou
    else:
        near = tolerances.box - _largest_difference(*boxes)
    scores = np.abs(first[1][:, None] - second[1]) <= tolerances.score
    allowed = (first[2][:, None] == second[2]) & scores & (near >= 0)
    near = np.where(allowed, near, -1.0)
    pairs = 0
    for row in range(len(near)):
        column = int(near[row].argmax())
        if near[row, column] >= 0:
            pairs += 1
            near[:, column] = -1.0
    return pairs


def _largest_difference(first: Array, second: Array) -> Array:
    """(M, N) of 3D boxes; the yaw by the shorter way round."""
    difference = np.abs(first[:, None] - second[None])
    turn = difference[..., 6] % (2 * np.pi)
    difference[..., 6] = np.minimum(turn, 2 * np.pi - turn)
    largest: Array = difference.max(-1)
    return largest


def _iou(first: Array, second: Array) -> Array:
    """(M, N) overlap of boxes; two equal boxes without area overlap fully."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inner = (high - low).clip(min=0).prod(-1)
    area = [(boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(-1) for boxes in (first, second)]
    union = area[0][:, None] + area[1][None] - inner
    equal = (first[:, None] == second[None]).all(-1)
    ratio: Array = np.where(equal, 1.0, inner / np.where(union > 0, union, 1.0))
    return ratio


def _worse(first: TensorDifference | None, second: TensorDifference) -> TensorDifference:
    if first is None:
        return second
    # np.maximum keeps a nan, max() may drop it
    return TensorDifference(
        float(np.maximum(first.max_abs, second.max_abs)),
        float(np.maximum(first.max_relative, second.max_relative)),
    )
