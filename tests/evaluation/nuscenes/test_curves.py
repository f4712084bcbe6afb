"""Curves and averages by hand. The devkit's own numbers are in test_evaluate.py."""

import math

import numpy as np
import pytest

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes.curves import Curve, average_precision, curve_of, mean_error


def curve(matched: list, scores: list, objects: int) -> Curve:
    return curve_of(np.array(matched), np.array(scores), objects, where="car at 2 m")


def test_two_of_four_found_then_a_false_one():
    found = curve([3, 0, -1], [0.9, 0.5, 0.1], objects=4)
    # recall 1/4 with the first, 1/2 with the second, precision 1; the third halves nothing but
    # the precision at recall 1/2, whose last value counts: 2 true of 3
    assert found.precision[:50].tolist() == [1.0] * 50
    assert found.precision[50] == 2 / 3
    assert found.precision[51:].tolist() == [0.0] * 50
    assert found.score[0] == 0.9
    assert found.score[25] == 0.9
    assert found.score[30] == pytest.approx(0.9 - (0.9 - 0.5) * 5 / 25)
    assert found.score[50] == 0.1
    assert found.last == 50
    ap = average_precision(found, min_recall=0.1, min_precision=0.1)
    # recalls 0.11 to 1.00: 39 at precision 1, one at 2/3, 50 at 0; less 0.1 each, scaled by 1/0.9
    assert ap == pytest.approx((39 * 0.9 + (2 / 3 - 0.1)) / 90 / 0.9)


def test_nothing_matched_is_an_empty_curve():
    found = curve([-1, -1], [0.9, 0.5], objects=4)
    assert not found.precision.any()
    assert found.last == 0
    assert average_precision(found, min_recall=0.1, min_precision=0.1) == 0.0


def test_mean_error_is_a_mean_of_running_means():
    found = curve([0, 1], [0.8, 0.4], objects=2)
    error = mean_error(found, np.array([0.8, 0.4]), np.array([1.0, 3.0]), min_recall=0.1)
    # running means 1 and 2; 1 up to recall 0.5, then rising evenly to 2 at recall 1
    assert error == pytest.approx((40 * 1 + sum(1 + i / 50 for i in range(1, 51))) / 90)


def test_undefined_errors_are_left_out():
    found = curve([0, 1, 2], [0.9, 0.8, 0.7], objects=3)
    scores = np.array([0.9, 0.8, 0.7])
    nan = math.nan
    all_undefined = mean_error(found, scores, np.array([nan, nan, nan]), min_recall=0.1)
    assert all_undefined == 1.0
    # running mean 0 before the first number, then 4 and still 4
    late = mean_error(found, scores, np.array([nan, 4.0, nan]), min_recall=0.1)
    # 0 to recall 1/3, rising evenly to 4 at 2/3, then 4
    rising = [4 * (i / 100 - 1 / 3) * 3 for i in range(34, 67)]
    assert late == pytest.approx((sum(rising) + 34 * 4) / 90)


def test_one_where_recall_stays_below_the_minimum():
    found = curve([0], [0.9], objects=10)  # recall 0.1
    assert found.last == 10
    assert mean_error(found, np.array([0.9]), np.array([0.0]), min_recall=0.1) == 1.0


def test_scores_below_zero_make_no_falling_curve():
    with pytest.raises(UserError, match=r"car at 2 m: detection scores run from -0\.5 to 0\.5"):
        curve([0, 1], [0.5, -0.5], objects=4)
    assert curve([0, 1], [0.5, -0.5], objects=2).score[-1] == -0.5  # all recalls are reached
