import numpy as np
import pytest

from kd3d.export.row_order import in_reference_order


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


def assert_equal(found, expected):
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_swapped_rows_find_their_partners():
    expected, received = rows(0.9, 0.8, 0.7), rows(0.8, 0.9, 0.7)
    assert_equal(in_reference_order(expected, received, [3]), expected)


def test_rows_stay_in_their_group():
    expected, received = rows(0.9, 0.8, 0.7, 0.6), rows(0.7, 0.8, 0.9, 0.6)
    found = in_reference_order(expected, received, [2, 2])
    np.testing.assert_array_equal(np.sort(found["scores"][0, :2]), np.float32([0.7, 0.8]))


def test_a_row_that_ties_with_the_lowest_may_be_another_one():
    expected, received = rows(0.9, 0.5, 0.5), rows(0.9, 0.5, 0.5)
    received["boxes"][0, 2, 1] = 33.0  # of four that tie, each side has kept two
    assert_equal(in_reference_order(expected, received, [3]), expected)


def test_any_other_difference_is_left():
    expected, received = rows(0.9, 0.7, 0.5), rows(0.9, 0.7, 0.5)
    received["boxes"][0, 1, 1] = 33.0
    assert_equal(in_reference_order(expected, received, [3]), received)
    received = rows(0.9, 0.7, 0.5, labels=[0, 1, 0])
    assert_equal(in_reference_order(expected, received, [3]), received)


def test_yaw_is_compared_by_whole_turns():
    expected, received = rows(0.9), rows(0.9)
    expected["boxes"][0, 0, 6], received["boxes"][0, 0, 6] = np.pi - 1e-6, -np.pi + 1e-6
    found = in_reference_order(expected, received, [1])
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays(value):
    expected, received = rows(0.9, 0.8), rows(0.8, 0.9)
    received["boxes"][0, 0, 3] = value
    assert_equal(in_reference_order(expected, received, [2]), received)


def test_other_shapes_stay():
    received = rows(0.8, 0.9)
    assert_equal(in_reference_order(rows(0.9), received, [1]), received)
