import dataclasses
import math

import optuna
import pytest
from mmengine.config import Config

from kd3d.errors import UserError
from kd3d.recipes.student_cost import StudentCost
from kd3d.recipes.student_family import Family
from kd3d.recipes.student_search import Budget, Candidate, SearchResult, search_student

BASE = Config({"width": 2, "depth": 1})


def apply(config, choice):
    config.width, config.depth = choice["width"], choice["depth"]


FAMILY = Family("toy", {"width": (1, 2, 3, 4), "depth": (1, 2, 3)}, {"width": 2, "depth": 1}, apply)


def cost(config):
    """Latency 10 ms and 2 ms a layer of each width; multiply-adds by the square of the width."""
    latency = 10 + 2 * config.width * config.depth
    return StudentCost(
        latency_ms=latency,
        low_ms=latency - 1,
        high_ms=latency + 1,
        coverage=0.8,
        gmacs=config.width**2 * config.depth,
        parameters_m=config.width**2,
        input="toy",
        warnings=("made up",),
    )


def search(
    folder,
    *,
    trials=14,
    latency_ms=22,
    parameters_m=None,
    by="median",
    of=cost,
    say=None,
    seed=3,
):
    return search_student(
        BASE,
        FAMILY,
        of,
        budget=Budget(latency_ms=latency_ms, parameters_m=parameters_m, by=by),
        trials=trials,
        seed=seed,
        storage=folder / "study.db",
        study="toy",
        say=say or (lambda text: None),
    )


def test_the_largest_within_the_budget_is_found(tmp_path):
    # 22 ms allow width * depth <= 6; the most width^2 * depth of these is 3^2 * 2
    best = search(tmp_path, trials=20).ranked[0]
    assert best.choice == {"width": 3, "depth": 2}
    assert best.cost.gmacs == 18
    assert best.cost == cost(Config(best.choice))
    assert best.cost.latency_ms == 22


def test_by_its_upper_end_a_student_is_within_sooner_or_not_at_all(tmp_path):
    # 22 ms less the millisecond above the median allow width * depth <= 5; the most is 4^2 * 1
    lines = []
    best = search(tmp_path, trials=20, by="high", say=lines.append).ranked[0]
    assert best.choice == {"width": 4, "depth": 1}
    assert best.cost.high_ms == 19
    assert "13.00 ms" in lines[0]  # the smallest: 10 + 2 + 1
    with pytest.raises(UserError, match="12 ms with the upper end of the 80% interval") as raised:
        search(tmp_path / "none", latency_ms=12, by="high")
    assert "the smallest takes 13.00 ms" in str(raised.value)
    assert search(tmp_path / "one", latency_ms=12).ranked


def test_parameters_are_kept_too(tmp_path):
    """Which students a search of few trials looks at depends on the processor, too."""
    found = search(tmp_path, parameters_m=4, trials=20)
    within = [one for one in found.candidates if one.cost.parameters_m <= 4]
    assert 1 < len(within) < len(found.candidates)
    assert {str(one.choice) for one in found.ranked} == {str(one.choice) for one in within}
    assert found.ranked[0].cost.gmacs == max(one.cost.gmacs for one in within)


def test_the_smallest_and_the_configs_own_come_first(tmp_path):
    first, second = search(tmp_path, trials=2).candidates
    assert first.choice == {"width": 1, "depth": 1}
    assert second.choice == FAMILY.start


def test_no_student_is_computed_twice(tmp_path):
    seen = []

    def counted(config):
        seen.append((config.width, config.depth))
        return cost(config)

    found = search(tmp_path, trials=14, of=counted).candidates
    assert len(seen) == len(set(seen)) == len(found) <= 12


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path):
    whole = search(tmp_path / "whole", trials=14)
    calls = []

    def interrupted(config):
        calls.append(config)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return cost(config)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "cut", trials=14, of=interrupted)
    resumed = search(tmp_path / "cut", trials=14)
    assert resumed.candidates == whole.candidates
    assert search(tmp_path / "other", trials=14, seed=4).candidates != whole.candidates


def test_a_finished_search_computes_nothing(tmp_path):
    first = search(tmp_path)
    assert search(tmp_path, of=None) == first


def test_a_budget_that_the_smallest_exceeds_ends_at_once(tmp_path):
    calls = []

    def counted(config):
        calls.append(config)
        return cost(config)

    with pytest.raises(UserError, match=r"11 ms: the smallest takes 12\.00 ms"):
        search(tmp_path, latency_ms=11, of=counted)
    assert len(calls) == 1


def test_a_budget_that_none_keeps_names_the_fastest(tmp_path):
    def at_least_8_m(config):  # all but the smallest have too many parameters
        found = cost(config)
        parameters = 1 if (config.width, config.depth) == (1, 1) else 8
        latency = 12.5 if parameters == 1 else 12.0
        return dataclasses.replace(found, parameters_m=parameters, latency_ms=latency)

    result = search(tmp_path, latency_ms=12.5, parameters_m=2, of=at_least_8_m, trials=4)
    assert [found.choice for found in result.ranked] == [{"width": 1, "depth": 1}]


def test_progress_says_how_long_it_takes(tmp_path):
    lines = []
    search(tmp_path, trials=3, say=lines.append)
    assert len(lines) == 3
    assert lines[0].startswith("1/3")
    assert "12.00 ms" in lines[0]
    assert all(line.endswith("s left") for line in lines)
    assert "within" in lines[0]


def test_equal_multiply_adds_are_ranked_by_parameters():
    small, large = (
        Candidate({"width": n}, dataclasses.replace(cost(BASE), parameters_m=n)) for n in (1, 2)
    )
    budget = Budget(latency_ms=math.inf)
    assert SearchResult((small, large), budget).ranked == [large, small]


def test_the_study_is_plain_optuna(tmp_path):
    search(tmp_path, trials=3)
    study = optuna.load_study(storage=f"sqlite:///{tmp_path}/study.db", study_name="toy")
    assert [trial.value for trial in study.trials] == [1, 4, study.trials[2].value]
