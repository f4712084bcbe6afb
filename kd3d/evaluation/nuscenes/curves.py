"""From matches in order of score to precision, recall and running errors at 101 recalls.

Every number is made by the same floating-point operations in the same order as in nuscenes-devkit
1.2.0, down to the memory layout that decides how numpy adds up an array.
"""

from dataclasses import dataclass

import numpy as np

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes.boxes import Floats, Ints

RECALLS = 101


@dataclass(frozen=True)
class Curve:
    """One class at one matching distance, sampled at recalls 0, 0.01, ..., 1.

    Attributes:
        recall: (101,).
        precision: (101,); 0 beyond the highest recall that was reached.
        score: (101,) confidence at which that recall was reached; 0 beyond.
    """

    recall: Floats
    precision: Floats
    score: Floats

    @classmethod
    def empty(cls) -> "Curve":
        """Nothing was matched."""
        return cls(np.linspace(0, 1, RECALLS), np.zeros(RECALLS), np.zeros(RECALLS))

    @property
    def last(self) -> int:
        """Index of the highest recall reached, 0 if none was: the last score that is not 0."""
        reached = np.flatnonzero(self.score)
        return int(reached[-1]) if len(reached) else 0


def curve_of(matched: Ints, score: Floats, objects: int, *, where: str) -> Curve:
    """The curve of predictions in order of falling score.

    Args:
        matched: (P,) the object each prediction took, -1 for a false positive.
        score: (P,) falling.
        objects: how many there are, at least 1.
        where: for the error: class and distance.

    Raises:
        UserError: if scores below 0 let those of the curve rise again, to the 0 of recalls that
            were not reached.
    """
    hit = matched >= 0
    if not hit.any():
        return Curve.empty()
    true = np.cumsum(hit).astype(float)
    false = np.cumsum(~hit).astype(float)
    precision = true / (false + true)
    recall = true / float(objects)
    at = np.linspace(0, 1, RECALLS)
    with np.errstate(invalid="ignore"):  # infinite scores, which the devkit takes
        curve = Curve(
            at,
            np.interp(at, recall, precision, right=0),
            np.interp(at, recall, score, right=0),
        )
    if not bool(np.all(curve.score[:-1] >= curve.score[1:])):
        raise UserError(
            f"{where}: detection scores run from {score[-1]:g} to {score[0]:g}; expected none "
            "below 0 (the devkit refuses them too); write the model's confidences"
        )
    return curve


def average_precision(curve: Curve, *, min_recall: float, min_precision: float) -> float:
    """Mean precision above both minima, scaled to [0, 1]."""
    precision = np.copy(curve.precision)[_first(min_recall) :]
    precision -= min_precision
    precision[precision < 0] = 0
    return float(np.mean(precision)) / (1.0 - min_precision)


def mean_error(curve: Curve, matched_score: Floats, error: Floats, *, min_recall: float) -> float:
    """Mean of an error's running mean, over the recalls from ``min_recall`` to the highest one.

    Args:
        curve: of the class at the distance at which errors are measured.
        matched_score: (M,) scores of the true positives, falling.
        error: (M,) their errors; NaN where undefined.
        min_recall: 1 is answered if the curve does not get further.
    """
    if curve.last < _first(min_recall):
        return 1.0
    # np.interp wants rising values. The result stays a reversed view: numpy sums it in the
    # order of its memory, and a copy would round differently.
    running = _running_mean(error)[::-1]
    sampled = np.interp(curve.score[::-1], matched_score[::-1], running)[::-1]
    return float(np.mean(sampled[_first(min_recall) : curve.last + 1]))


def _first(min_recall: float) -> int:
    return round(100 * min_recall) + 1


def _running_mean(values: Floats) -> Floats:
    """Mean of all values so far, NaN left out; 0 before the first number, 1 if there is none."""
    undefined = np.isnan(values)
    if undefined.all():
        return np.ones(len(values))
    total = np.cumsum(np.where(undefined, 0.0, values))
    count = np.cumsum(~undefined)
    return np.divide(total, count, out=np.zeros_like(total), where=count != 0)
