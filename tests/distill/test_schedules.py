import math

import pytest

from kd3d.distill.schedules import Schedule
from kd3d.errors import UserError


def test_constant_is_constant_to_the_end():
    schedule = Schedule(2.0)
    assert [schedule.at(p) for p in (0.0, 0.5, 1.0)] == [2.0, 2.0, 2.0]


def test_linear_moves_in_equal_steps():
    schedule = Schedule(2.0, 1.0, "linear")
    assert [schedule.at(p) for p in (0.0, 0.25, 1.0)] == [2.0, 1.75, 1.0]


def test_cosine_is_half_way_at_half_time_and_slow_at_both_ends():
    schedule = Schedule(1.0, 0.1, "cosine")
    assert schedule.at(0.5) == pytest.approx(0.55)
    assert schedule.at(0.25) == pytest.approx(1.0 - 0.9 * (1 - math.cos(math.pi / 4)) / 2)
    assert schedule.at(1.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("schedule", "largest"),
    [
        (Schedule(2.0, warmup=0.5), 2.0),
        (Schedule(0.0, 3.0, "linear"), 3.0),
        (Schedule(3.0, 1.0, "cosine"), 3.0),
        (Schedule(0.0), 0.0),
    ],
)
def test_the_largest_value(schedule, largest):
    assert schedule.largest == largest


def test_warmup_rises_from_zero():
    schedule = Schedule(4.0, warmup=0.2)
    assert [schedule.at(p) for p in (0.0, 0.1, 0.2)] == [0.0, 2.0, 4.0]


def test_stop_ends_it_and_the_shape_reaches_its_end_there():
    schedule = Schedule(2.0, 1.0, "linear", stop=0.5)
    assert schedule.at(0.25) == 1.5
    assert schedule.at(0.5) == 0.0
    assert schedule.stopped(0.5)
    assert not schedule.stopped(0.49)


def test_a_weight_of_zero_is_stopped_from_the_start():
    assert Schedule(0.0).stopped(0.0)
    assert not Schedule(0.0, 1.0, "linear").stopped(0.0)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_an_end_of_zero_without_a_stop_counts_to_the_last_iteration(shape):
    schedule = Schedule(2.0, 0.0, shape)
    assert schedule.at(1.0) == 0.0
    assert 0 < schedule.at(999 / 1000) < 0.01
    assert not schedule.stopped(999 / 1000)
    assert Schedule(2.0, 0.0, shape, stop=0.5).stopped(0.5)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("two", "expected a number"),
        ({"start": 1.0, "shape": "square"}, "must be one of"),
        ({"start": 1.0, "shape": "linear"}, "needs an end"),
        ({"start": 1.0, "end": 0.5}, "needs shape"),
        ({"start": 1.0, "stop": 0.0}, "stop > 0"),
        ({"start": 1.0, "warmup": 0.6, "stop": 0.5}, "warmup <= stop"),
        ({"begin": 1.0}, "begin"),
        (-1.0, ">= 0"),
        (float("nan"), "finite"),
    ],
)
def test_a_wrong_value_names_the_pair_and_what_is_expected(value, says):
    with pytest.raises(UserError, match="pair 'neck': weight") as error:
        Schedule.of(value, where="pair 'neck': weight")
    assert says in str(error.value)


def test_of_takes_numbers_dicts_and_schedules():
    assert Schedule.of(3, where="") == Schedule(3.0)
    assert Schedule.of({"start": 3.0}, where="") == Schedule(3.0)
    assert Schedule.of(Schedule(3.0), where="") == Schedule(3.0)
