import json
import math

import numpy as np
import pytest

from kd3d.backends.head_noise import (
    ENTRY,
    AcceptedNoise,
    accepted_from_json,
    accepted_noise,
    channel_noise,
    head_differences,
)


def maps(*channels):
    """(1, C, 1, W) from the values of each channel."""
    return np.float32(channels)[None, :, None]


def test_noise_is_that_of_each_channel_of_maps_and_of_rows():
    expected = maps([0, 0], [1, 2], [5, 5])
    received = maps([3, 4], [1, 2], [5, 6])
    noise = [math.sqrt((9 + 16) / 2), 0, math.sqrt(1 / 2)]
    np.testing.assert_allclose(channel_noise(expected, received), noise)
    rows = [np.moveaxis(array, 1, -1)[:, 0] for array in (expected, received)]
    np.testing.assert_allclose(channel_noise(*rows), noise)


def test_rows_in_another_order_are_no_noise_where_their_order_is_free():
    expected = np.float32([[1, 10], [2, 20], [3, 30]])
    received = expected[[2, 0, 1]]
    assert channel_noise(expected, received).min() > 1
    assert channel_noise(expected, received, rows_free=True).max() == 0
    # each channel by itself: 1 2 4 for 1 2 3
    received[0, 0] = 4
    noise = channel_noise(expected, received, rows_free=True)
    np.testing.assert_allclose(noise, [math.sqrt(1 / 3), 0])


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_or_of_another_shape_is_infinitely_noisy(broken):
    expected = maps([1, 2], [3, 4])
    noise = channel_noise(expected, maps([1, broken], [3, 4]))
    assert list(noise) == [math.inf, 0]
    assert list(channel_noise(expected, maps([1], [3]))) == [math.inf] * 2
    assert list(channel_noise(np.zeros((0, 3)), np.zeros((0, 3)))) == [0] * 3


def test_noise_of_all_inputs_is_accepted_and_a_quiet_channel_gets_its_heads_mean():
    expected = maps([0, 0], [0, 0])
    runs = [
        ({"head": expected}, {"head": maps([3, 3], [0, 0])}),
        ({"head": expected}, {"head": maps([1, 1], [1, 1])}),
    ]
    (found,) = accepted_noise(runs, least=0.1).values()
    # powers (9 + 1) / 2 and (0 + 1) / 2, on average 2.75
    assert found.rms == pytest.approx((math.sqrt(5), math.sqrt(2.75)))
    assert not found.rows_free


def test_a_head_without_noise_is_given_a_share_of_what_varies_in_it():
    expected = {"head": maps([98, 102], [8, 12])}  # each channel varies by 2
    (found,) = accepted_noise([(expected, expected)], least=0.1).values()
    assert found.rms == pytest.approx((0.2, 0.2))
    (found,) = accepted_noise([(expected, expected)], least=0.1, rows_free={"head"}).values()
    assert found == AcceptedNoise(pytest.approx((0.4, 0.4)), rows_free=True)
    constant = {"head": maps([10, 10], [10, 10])}
    (found,) = accepted_noise([(constant, constant)], least=0.1).values()
    assert found.rms == pytest.approx((1e-4, 1e-4))


def test_export_json_keeps_three_digits():
    noise = {"head": AcceptedNoise((0.123456, 2.0), rows_free=True)}
    details = json.loads(json.dumps({ENTRY: {head: n.as_json() for head, n in noise.items()}}))
    assert accepted_from_json(details) == {"head": AcceptedNoise((0.123, 2.0), rows_free=True)}
    assert accepted_from_json({}) == {}


def compare(received, accepted):
    """The worst channel of each head, whose values were all 0."""
    zero = {head: 0 * array for head, array in received[0].items()}

    def reference(names, sets):
        assert names == list(zero)
        return [zero for _ in sets]

    sets = [{} for _ in received]
    return head_differences(reference, lambda names, sets: received, sets, accepted)


def test_the_worst_channel_counts_by_its_median_over_the_inputs():
    accepted = {"a": AcceptedNoise((1.0, 0.1)), "b": AcceptedNoise((1.0,))}
    received = [
        {"a": maps([2, 2], [0.3, 0.3]), "b": maps([1, 1])},
        {"a": maps([0, 0], [0.5, 0.5]), "b": maps([1, 1])},
        {"a": maps([0, 0], [9, 9]), "b": maps([7, 7])},
    ]
    a, b = compare(received, accepted)
    assert (a.head, a.channel, a.accepted) == ("a", 1, 0.1)
    assert a.noise == pytest.approx(0.5)
    assert a.ratio == pytest.approx(5)
    assert (b.head, b.channel, b.ratio) == ("b", 0, 1)


def test_a_head_of_zeros_that_stays_so_passes_and_any_noise_in_it_is_too_much():
    zeros = {"a": maps([0, 0], [0, 0])}
    accepted = accepted_noise([(zeros, zeros)], least=0.1)
    assert accepted == {"a": AcceptedNoise((0.0, 0.0))}
    (a,) = compare([zeros], accepted)
    assert (a.noise, a.accepted, a.ratio) == (0, 0, 0)
    (a,) = compare([{"a": maps([0, 0], [1e-9, 1e-9])}], accepted)
    assert (a.channel, a.ratio) == (1, math.inf)
    # one of zeros beside one with noise: the noisy one is the worst
    (a,) = compare([{"a": maps([0, 0], [2, 2])}], {"a": AcceptedNoise((0.0, 1.0))})
    assert (a.channel, a.ratio) == (1, pytest.approx(2))


def test_one_value_that_is_not_finite_is_no_outlier():
    received = [{"a": maps([0, 0])}, {"a": maps([0, 0])}, {"a": maps([0, np.nan])}]
    (a,) = compare(received, {"a": AcceptedNoise((1.0,))})
    assert a.ratio == math.inf
