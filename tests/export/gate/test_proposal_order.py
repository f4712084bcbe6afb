import numpy as np
import pytest

from kd3d.export.gate.proposal_order import in_proposal_order


def outputs(rows=50):
    generator = np.random.default_rng(0)
    return {
        "boxes": generator.uniform(0, 100, (2, rows, 3, 4)).astype(np.float32),
        "scores": generator.uniform(0, 1, (2, rows, 3)).astype(np.float32),
    }


def in_order(expected, received, lost=0.02):
    return in_proposal_order(expected, received, relative=1e-3, rms=1e-3, lost=lost)


def assert_equal(found, expected, atol=0.0):
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=atol)


def test_moved_rows_come_back():
    expected = outputs()
    order = np.random.default_rng(1).permutation(50)
    received = {name: array[:, order] + np.float32(1e-4) for name, array in expected.items()}
    assert_equal(in_order(expected, received), expected, atol=2e-4)


def test_one_row_in_fifty_may_have_no_partner_but_two_may_not():
    expected = outputs()
    received = {name: array.copy() for name, array in expected.items()}
    received["boxes"][0, 7] += 3
    assert_equal(in_order(expected, received), expected)
    received["boxes"][0, 9] += 3
    found = in_order(expected, received)
    assert np.abs(found["boxes"] - expected["boxes"]).max() == pytest.approx(3, abs=1e-4)
    assert_equal({"scores": found["scores"]}, {"scores": expected["scores"]})


def test_a_stranger_does_not_displace_partners():
    expected = outputs()
    received = {name: array.copy() for name, array in expected.items()}
    # one row fell out at the front, another came in at the end: all others moved up
    for array in received.values():
        array[0] = np.concatenate([array[0, 1:], array[0, :1] + 0.5])
    assert_equal(in_order(expected, received), expected)


def test_coarse_tolerances_still_find_partners():
    expected = outputs()
    order = np.random.default_rng(1).permutation(50)
    noise = np.random.default_rng(2)
    received = {
        name: array[:, order] + noise.normal(0, 0.01 * array.max(), array.shape).astype(np.float32)
        for name, array in expected.items()
    }
    found = in_proposal_order(expected, received, relative=1.0, rms=0.1, lost=0.0)
    for name, array in expected.items():
        assert np.abs(found[name] - array).max() < 0.06 * array.max()
    received["scores"][0, 0] = 0  # within relative, not within rms
    forgiving = in_proposal_order(expected, received, relative=1.0, rms=0.1, lost=0.02)
    assert np.abs(forgiving["scores"] - expected["scores"]).max() < 0.06


def test_damage_and_non_finite_values_stay():
    expected = outputs()
    collapsed = {name: np.zeros_like(array) for name, array in expected.items()}
    assert_equal(in_order(expected, collapsed), collapsed)
    received = {name: array.copy() for name, array in expected.items()}
    for value in (np.nan, np.inf):
        received["scores"][1, 0, 0] = value
        assert not np.isfinite(in_order(expected, received)["scores"][1, 0, 0])


def test_other_shapes_are_left_alone():
    expected = outputs()
    received = outputs(rows=49)
    assert_equal(in_order(expected, received), received)
