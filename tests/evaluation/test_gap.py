import math

import pytest

from kd3d.evaluation.gap import gap_closed


def test_gap_closed_of_three_seeds_paired_by_seed():
    distilled = {0: 30.0, 1: 28.0, 2: 34.0}
    baseline = {2: 30.0, 1: 24.0, 0: 20.0}  # another order: pairs go by seed
    closed = gap_closed(distilled, baseline, teacher=40.0)
    # (30-20)/(40-20) = 1/2, (28-24)/(40-24) = 1/4, (34-30)/(40-30) = 2/5
    assert closed.per_seed == pytest.approx({0: 1 / 2, 1: 1 / 4, 2: 2 / 5})
    mean = (1 / 2 + 1 / 4 + 2 / 5) / 3
    variance = ((1 / 2 - mean) ** 2 + (1 / 4 - mean) ** 2 + (2 / 5 - mean) ** 2) / 2
    assert closed.mean == pytest.approx(mean)
    assert closed.std == pytest.approx(math.sqrt(variance))
    assert closed.reason == ""


def test_a_loss_is_negative_and_passing_the_teacher_is_above_one():
    assert gap_closed({0: 15.0}, {0: 20.0}, 40.0).mean == pytest.approx(-5 / 20)
    assert gap_closed({0: 45.0}, {0: 20.0}, 40.0).mean == pytest.approx(25 / 20)


def test_one_seed_has_no_deviation():
    assert gap_closed({0: 30.0}, {0: 20.0}, 40.0).std is None


def test_only_common_seeds_count():
    assert gap_closed({0: 30.0, 5: 99.0}, {0: 20.0, 7: 1.0}, 40.0).per_seed == {0: 0.5}
    missing = gap_closed({0: 30.0}, {1: 20.0}, 40.0)
    assert missing.mean is None
    assert "no seed" in missing.reason


@pytest.mark.parametrize("teacher", [24.0, 20.0])
def test_a_teacher_that_one_baseline_reaches_gives_a_reason_and_no_number(teacher):
    closed = gap_closed({0: 30.0, 1: 31.0}, {0: 10.0, 1: 24.0}, teacher)
    assert (closed.mean, closed.std, closed.per_seed) == (None, None, {})
    assert f"({teacher:.1f}) is not better" in closed.reason
    assert "24.0 at seed 1" in closed.reason
