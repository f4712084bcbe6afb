"""Do two backends agree: tensor by tensor, then on the boxes after NMS?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Iterable, Mapping, Sequence  # noqa: UP035  (the vehicle: Python 3.8)

import numpy as np

from kd3d.backends.base import Array, Backend, Feeds
from kd3d.backends.box_matching import BoxArrays, BoxCounts, count_boxes
from kd3d.backends.head_noise import HeadDifference
from kd3d.backends.tolerances import Tolerances

Detect = Callable[[Mapping[str, Array]], Sequence[BoxArrays]]
"""Outputs of a backend to the final boxes of each image in the batch."""

Align = Callable[[Mapping[str, Array], Mapping[str, Array]], Mapping[str, Array]]
"""(reference's outputs, candidate's) to the candidate's in the order of the reference."""

Split = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Outputs to parts of them by name, each of which is to agree by itself."""

# Noise that must not change the reference's own boxes if these are to decide anything.
_NOISE = 1e-4


@dataclass(frozen=True)
class TensorDifference:
    """How far a tensor is from the reference's; the worst over all inputs.

    Attributes:
        max_abs: largest difference.
        max_relative: the same as a share of the range of the reference's values and 0. Not of the
            largest value: rows around a vehicle may be twice that apart, those in an image once.
        rms: root mean square of the differences as a share of that of the reference's values.
        non_finite: values that are inf or nan on either side.
    """

    max_abs: float
    max_relative: float
    rms: float
    non_finite: int = 0


@dataclass(frozen=True)
class Parity:
    """What was compared and whether it agreed.

    Attributes:
        tensors: difference by output name.
        inputs: how many sets of inputs were run.
        boxes: final boxes over all inputs, and those with a partner.
        stable_boxes: boxes of the reference that keep their partner when noise of the size of the
            tensors' differences, 0.01 % at most, is added to its own tensors.
        tolerances: what was asked.
        parts: difference by the name of a part of an output; empty if they were not compared.
        heads: the last layers of the file; empty if they were not compared.
        decoding: by output, difference from what the reference makes of the file's own last layers;
            empty if it was not compared.
    """

    tensors: Mapping[str, TensorDifference]
    inputs: int
    boxes: BoxCounts
    stable_boxes: int
    tolerances: Tolerances
    parts: Mapping[str, TensorDifference] = field(default_factory=dict)
    heads: Sequence[HeadDifference] = ()
    decoding: Mapping[str, TensorDifference] = field(default_factory=dict)

    @property
    def matched(self) -> float:
        """Share of the counted boxes with a partner, of the side with the fewer; 1 without any."""
        counts = self.boxes
        sides = (
            (counts.reference_matched, counts.reference),
            (counts.candidate_matched, counts.candidate),
        )
        return min(matched / boxes if boxes else 1.0 for matched, boxes in sides)

    @property
    def boxes_decide(self) -> bool:
        """Whether the boxes say anything: the reference's own survive the noise.

        They do not where scores tie, as nearly all of an untrained detector's do: which of two
        equal boxes NMS keeps is then a matter of the last digit.
        """
        return self.stable_boxes >= self.tolerances.matched * self.boxes.reference

    @property
    def tensors_agree(self) -> bool:
        """Every tensor is within tolerance; one with a value that is not finite never is."""
        return all(
            difference.max_relative <= self.tolerances.relative
            and difference.rms <= self.tolerances.rms
            and not difference.non_finite
            for difference in self.tensors.values()
        )

    @property
    def parts_agree(self) -> bool:
        """Every part of an output is within tolerance."""
        return all(part.rms <= self.tolerances.part for part in self.parts.values())

    @property
    def heads_agree(self) -> bool:
        """No last layer is noisier than the export accepted, but for the margin."""
        return all(head.ratio <= self.tolerances.head_noise for head in self.heads)

    @property
    def decoding_agrees(self) -> bool:
        """The file decodes its own last layers as the reference would."""
        limit = self.tolerances.decoding
        return all(found.rms <= limit for found in self.decoding.values())

    @property
    def boxes_agree(self) -> bool:
        """Enough boxes have a partner, or they do not decide."""
        return self.matched >= self.tolerances.matched or not self.boxes_decide

    @property
    def passed(self) -> bool:
        """All that was compared agrees."""
        levels = (self.tensors_agree, self.parts_agree, self.heads_agree, self.decoding_agrees)
        return all(levels) and self.boxes_agree


def parity(
    reference: Backend,
    candidate: Backend,
    inputs: Iterable[Feeds],
    *,
    detect: Detect | None = None,
    align: Align | None = None,
    split: Split | None = None,
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
        split: parts of the outputs to be compared too, after they were aligned.
        tolerances: what counts as equal; None is for single precision.
    """
    tolerances = tolerances or Tolerances()
    worst: dict[str, TensorDifference] = {}
    parts: dict[str, TensorDifference] = {}
    boxes, stable = BoxCounts(), 0
    sets = list(inputs)
    assert sets, "parity needs at least one set of inputs"
    generator = np.random.default_rng(0)
    with reference, candidate:
        assert set(reference.output_names) == set(candidate.output_names)
        for feeds in sets:
            expected = reference.infer(feeds)
            received: Mapping[str, Array] = candidate.infer(feeds)
            if align is not None:
                received = align(expected, received)
            differences = {n: tensor_difference(expected[n], received[n]) for n in expected}
            worst = {n: worse(worst.get(n), difference) for n, difference in differences.items()}
            if split is not None:
                ours, theirs = split(expected), split(received)
                parts = {
                    n: worse(parts.get(n), tensor_difference(ours[n], theirs[n])) for n in ours
                }
            if detect is not None and not _is_broken(expected):
                found = detect(expected)
                boxes += _count(found, _detect_finite(detect, received), tolerances)
                noisy = _with_noise(expected, differences, generator)
                stable += _count(found, detect(noisy), tolerances).reference_matched
    return Parity(worst, len(sets), boxes, stable, tolerances, parts)


def tensor_difference(expected: Array, received: Array) -> TensorDifference:
    """Largest and mean difference, alone and as a share of the expected values.

    Tensors of different shape differ by infinity.
    """
    if expected.shape != received.shape:
        return TensorDifference(float("inf"), float("inf"), float("inf"))
    if not expected.size:
        return TensorDifference(0.0, 0.0, 0.0)
    expected, received = expected.astype(np.float64), received.astype(np.float64)
    finite = np.isfinite(expected) & np.isfinite(received)
    if not finite.all():
        infinite = float("inf")
        return TensorDifference(infinite, infinite, infinite, int((~finite).sum()))
    difference = np.abs(expected - received)
    largest, mean = float(difference.max()), _root_mean_square(difference)
    reach = float(max(expected.max(), 0) - min(expected.min(), 0))
    usual = _root_mean_square(expected)
    return TensorDifference(
        largest, largest / reach if reach else largest, mean / usual if usual else mean
    )


def _root_mean_square(values: Array) -> float:
    return float(np.sqrt(np.mean(values * values)))


def _count(
    ours: Sequence[BoxArrays], theirs: Sequence[BoxArrays], tolerances: Tolerances
) -> BoxCounts:
    """Over the images of a batch."""
    assert len(ours) == len(theirs)
    counts = BoxCounts()
    for first, second in zip(ours, theirs):  # noqa: B905  (Python 3.8 has no strict=)
        counts += count_boxes(first, second, tolerances)
    return counts


def _detect_finite(detect: Detect, outputs: Mapping[str, Array]) -> Sequence[BoxArrays]:
    """Final boxes; values that are not finite become 0, as no NMS is made for them."""
    return detect(
        {n: np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0) for n, array in outputs.items()}
    )


def _is_broken(tensors: Mapping[str, Array]) -> bool:
    """Whether a value is not finite: the tensors have failed then, and no NMS is made for it."""
    return not all(np.isfinite(array).all() for array in tensors.values())


def _with_noise(
    tensors: Mapping[str, Array],
    differences: Mapping[str, TensorDifference],
    generator: np.random.Generator,
) -> dict[str, Array]:
    """Adds uniform noise of twice the largest difference, but not of more than ``_NOISE``.

    Twice, because uniform noise is milder than a difference that follows the values. Not more,
    because a candidate that is far off must not make its reference look uncertain.
    """
    noisy = {}
    for name, array in tensors.items():
        if array.dtype.kind != "f":  # labels
            noisy[name] = array
            continue
        scale = float(np.abs(array).max()) if array.size else 0.0
        size = 2 * min(differences[name].max_abs, _NOISE * scale)
        noisy[name] = (array + generator.uniform(-size, size, array.shape)).astype(array.dtype)
    return noisy


def worse(first: TensorDifference | None, second: TensorDifference) -> TensorDifference:
    """The larger of each difference, and all values that are not finite."""
    if first is None:
        return second
    return TensorDifference(
        max(first.max_abs, second.max_abs),
        max(first.max_relative, second.max_relative),
        max(first.rms, second.rms),
        first.non_finite + second.non_finite,
    )
