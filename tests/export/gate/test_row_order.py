from functools import partial

import numpy as np
import pytest

from kd3d.backends.parity import tensor_difference
from kd3d.backends.tolerances import TOLERANCES
from kd3d.export.gate.row_order import in_reference_order

exact = partial(in_reference_order, box=0.01, tied=1e-4, lost=0.0)
coarse = partial(in_reference_order, box=0.5, tied=0.2)


def rows(*scores, labels=None):
    """Boxes along x, one a score, in the order given."""
    boxes = np.zeros((1, len(scores), 7), dtype=np.float32)
    boxes[0, :, 0] = [10 * score for score in scores]
    labels = np.zeros(len(scores)) if labels is None else np.asarray(labels)
    return {
        "boxes": boxes,
        "scores": np.float32([scores]),
        "labels": labels.astype(np.int32)[None],
    }


def moved(*scores, strangers):
    """Rows of these scores, the last of which are boxes of another place."""
    found = rows(*scores)
    found["boxes"][0, len(scores) - strangers :, 1] = 33.0
    return found


def assert_equal(found, expected):
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_swapped_rows_find_their_partners():
    expected, received = rows(0.9, 0.8, 0.7), rows(0.8, 0.9, 0.7)
    assert_equal(exact(expected, received, [3]), expected)


def test_rows_stay_in_their_group():
    expected, received = rows(0.9, 0.8, 0.7, 0.6), rows(0.7, 0.8, 0.9, 0.6)
    found = exact(expected, received, [2, 2])
    np.testing.assert_array_equal(np.sort(found["scores"][0, :2]), np.float32([0.7, 0.8]))


def test_a_row_that_ties_with_the_lowest_may_be_another_one():
    expected, received = rows(0.9, 0.5, 0.5), rows(0.9, 0.5, 0.5)
    received["boxes"][0, 2, 1] = 33.0  # of four that tie, each side has kept two
    assert_equal(exact(expected, received, [3]), expected)


def test_scores_tie_in_single_precision():
    """Nothing else has moved, but the last digits of two rows may."""
    expected, received = rows(0.9, 0.50004, 0.5), moved(0.9, 0.50004, 0.5, strangers=2)
    assert_equal(exact(expected, received, [3]), expected)


def test_a_row_that_noise_cuts_off_may_be_another_one():
    """Three moves of 0.01: the two sides' lowest rows are two of many with that score."""
    expected, received = rows(0.9, 0.8, 0.7, 0.505), moved(0.91, 0.79, 0.71, 0.503, strangers=1)
    found = coarse(expected, received, [4], lost=0.0)
    for name in expected:
        np.testing.assert_array_equal(found[name][0, 3], expected[name][0, 3])
        np.testing.assert_array_equal(found[name][0, :3], received[name][0, :3])


@pytest.mark.parametrize(("lost", "equal"), [(0.04, False), (0.06, True)])
def test_no_more_rows_than_noise_cuts_off_may_be_others(lost, equal):
    """Any move takes the lowest across itself, and 3 of 4 the next, which is 0.005 above it: the
    three that match move by 0.01, and one of single precision counts, too."""
    expected = rows(0.9, 0.8, 0.7, 0.51, 0.505)
    received = moved(0.91, 0.79, 0.71, 0.509, 0.504, strangers=2)
    assert 1 + 3 / 4 + 0.04 * 5 < 2 < 1 + 3 / 4 + 0.06 * 5
    found = coarse(expected, received, [5], lost=lost)
    side = expected if equal else received
    np.testing.assert_array_equal(found["boxes"][0, 3:], side["boxes"][0, 3:])


def test_scores_that_moved_too_far_are_no_measure_of_the_noise():
    expected = rows(0.95, 0.9, 0.85, 0.51, 0.505)
    received = moved(0.95, 0.9, 0.85, 0.51, 0.505, strangers=2)
    received["scores"][0, :3] -= 0.3  # more than 0.2
    assert_equal(coarse(expected, received, [5], lost=0.06), received)


def test_rows_that_match_are_compared_as_near_the_lowest_as_they_are():
    expected, received = rows(0.9, 0.45, 0.3), rows(0.91, 0.47, 0.32)
    assert_equal(coarse(expected, received, [3], lost=1.0), received)


def test_a_row_far_from_the_lowest_is_never_another_one():
    expected, received = rows(0.9, 0.5, 0.49), rows(0.9, 0.5, 0.49)
    received["boxes"][0, 0, 1] = 33.0
    assert_equal(coarse(expected, received, [3], lost=1.0), received)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("spoiled", [("boxes",), ("boxes", "scores", "labels")])
def test_a_file_that_ruins_all_small_scores_is_seen(precision, spoiled):
    """All of them lie within int8's 0.2 of the lowest."""
    draw = np.random.default_rng(0)
    scores = np.sort(draw.uniform(0, 0.19, (1, 100)))[:, ::-1]
    expected = {
        "boxes": draw.normal(size=(1, 100, 9), scale=20).astype(np.float32),
        "scores": scores.astype(np.float32),
        "labels": draw.integers(0, 3, (1, 100), dtype=np.int32),
    }
    ruins = {
        "boxes": draw.normal(size=(1, 100, 9), scale=20).astype(np.float32),
        "scores": np.full((1, 100), 0.01, np.float32),
        "labels": np.zeros((1, 100), np.int32),
    }
    limits = TOLERANCES[precision]
    found = in_reference_order(
        *(expected, expected | {name: ruins[name] for name in spoiled}, [100]),
        box=limits.box,
        tied=limits.score,
        lost=1 - limits.matched,
    )
    for name in spoiled:
        assert tensor_difference(expected[name], found[name]).rms > limits.rms


def seen_on_one_side(count, **outside):
    """A frame of 500 rows whose last ``count`` are objects that INT8 sees and PyTorch hardly."""
    draw = np.random.default_rng(0)
    shown = draw.uniform(-25.6, 25.6, (1, 500, 9)).astype(np.float32)
    scores = np.linspace(0.9, 0.02, 500, dtype=np.float32)[None] ** 2
    expected = {"boxes": shown, "scores": scores, "labels": np.zeros((1, 500), np.int32)}
    received = {name: array.copy() for name, array in expected.items()}
    received["boxes"][0, 500 - count :, :2] *= -1  # at the other side of the vehicle
    received["scores"][0, 500 - count :] = 0.389
    for axis, value in outside.items():
        received["boxes"][0, -1, int(axis[1:])] = value
    limits = TOLERANCES["int8"]
    found = coarse(expected, received, [500], lost=1 - limits.matched)
    worst = [tensor_difference(expected[name], found[name]) for name in expected]
    return all(d.max_relative <= limits.relative and d.rms <= limits.rms for d in worst)


def test_one_object_that_only_one_side_sees_is_no_damage():
    """It was a matter of where the row lies that it is compared with: up to 51.2 m from it."""
    assert seen_on_one_side(1)
    assert not seen_on_one_side(100)
    assert not seen_on_one_side(1, _3=80.0)  # a length that no box of the frame has


def test_any_other_difference_is_left():
    expected, received = rows(0.9, 0.7, 0.5), rows(0.9, 0.7, 0.5)
    received["boxes"][0, 1, 1] = 33.0
    assert_equal(exact(expected, received, [3]), received)
    received = rows(0.9, 0.7, 0.5, labels=[0, 1, 0])
    assert_equal(exact(expected, received, [3]), received)


def test_yaw_is_compared_by_whole_turns():
    expected, received = rows(0.9), rows(0.9)
    expected["boxes"][0, 0, 6], received["boxes"][0, 0, 6] = np.pi - 1e-6, -np.pi + 1e-6
    found = exact(expected, received, [1])
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays(value):
    expected, received = rows(0.9, 0.8), rows(0.8, 0.9)
    received["boxes"][0, 0, 3] = value
    assert_equal(exact(expected, received, [2]), received)


def test_other_shapes_stay():
    received = rows(0.8, 0.9)
    assert_equal(exact(rows(0.9), received, [1]), received)
