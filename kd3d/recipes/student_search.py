"""Searches a student family for the largest model within a latency budget.

Largest means most multiply-adds, and among equals most parameters. That is a proxy for accuracy
and a rough one: within a family, trained alike, accuracy rises with the logarithm of the
multiply-adds; between two students that differ by a tenth it says nothing. Latency is predicted,
accuracy is not: train more than the first of the list before you decide.

The search is Optuna's TPE with the budget as a constraint, kept in an SQLite file, so that the same
command goes on where an interrupted one ended and, as every trial has a seed of its own, finds what
the uninterrupted one would have found.
"""

import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
from mmengine.config import Config
from optuna.distributions import IntDistribution
from optuna.trial import TrialState

from kd3d.errors import UserError
from kd3d.recipes.student_cost import StudentCost
from kd3d.recipes.student_family import Choice, Family

BUDGET_BY = ("median", "high")
_COST = "cost"
_STARTUP_TRIALS = 12  # drawn at random before the sampler has something to learn from


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a student may cost.

    Attributes:
        latency_ms: predicted latency at most.
        parameters_m: millions at most; None for any number.
        by: what of the prediction is compared: its "median", which the measured latency exceeds
            about every second time, or "high", the upper end of its interval.
    """

    latency_ms: float
    parameters_m: float | None = None
    by: str = "median"

    def compared_ms(self, cost: StudentCost) -> float:
        """The latency that counts."""
        return cost.high_ms if self.by == "high" else cost.latency_ms

    def excess(self, cost: StudentCost) -> dict[str, float]:
        """How far above each limit; 0 or less is within."""
        over = {"latency_ms": self.compared_ms(cost) - self.latency_ms}
        if self.parameters_m is not None:
            over["parameters_m"] = cost.parameters_m - self.parameters_m
        return over

    def holds(self, cost: StudentCost) -> bool:
        """Whether a student is within all of it."""
        return all(over <= 0 for over in self.excess(cost).values())


@dataclass(frozen=True)
class Candidate:
    """One student that was looked at."""

    choice: Choice
    cost: StudentCost


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        candidates: all distinct students, in the order they were looked at.
        budget: of the search.
    """

    candidates: tuple[Candidate, ...]
    budget: Budget

    @property
    def ranked(self) -> list[Candidate]:
        """Those within the budget, largest first."""
        within = [found for found in self.candidates if self.budget.holds(found.cost)]
        return sorted(within, key=lambda found: (-found.cost.gmacs, -found.cost.parameters_m))


def search_student(
    base: Config,
    family: Family,
    cost: Callable[[Config], StudentCost],
    *,
    budget: Budget,
    trials: int,
    seed: int,
    storage: Path,
    study: str,
    say: Callable[[str], None],
) -> SearchResult:
    """Looks at ``trials`` students, those of an earlier call with the same study included.

    Args:
        base: config that the family varies.
        family: its knobs.
        cost: of a student's config.
        budget: the constraint.
        trials: in all.
        seed: of the sampler.
        storage: SQLite file; made if absent.
        study: name within it; one that stands for all that the costs depend on.
        say: takes a line of progress.

    Raises:
        UserError: if even the smallest student is above the budget, or none was within it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage.parent.mkdir(parents=True, exist_ok=True)
    opened = optuna.create_study(
        storage=f"sqlite:///{storage.resolve()}",
        study_name=study,
        direction="maximize",
        load_if_exists=True,
    )
    _drop_unfinished(opened)
    progress = _Progress(budget, trials, say)
    while (number := len(_finished(opened))) < trials:
        fixed = _first_choices(family)[number] if number < 2 else None
        found = _trial(opened, base, family, cost, budget=budget, seed=seed + number, fixed=fixed)
        progress.report(number + 1, found)
        if number == 0 and not budget.holds(found.cost):
            raise _infeasible(family, budget, [found])
    result = SearchResult(tuple(_candidates(opened, family)), budget)
    if not result.ranked:
        raise _infeasible(family, budget, list(result.candidates))
    return result


def _trial(
    study: optuna.Study,
    base: Config,
    family: Family,
    cost: Callable[[Config], StudentCost],
    *,
    budget: Budget,
    seed: int,
    fixed: Choice | None,
) -> Candidate:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, n_startup_trials=_STARTUP_TRIALS
        )
    if fixed is not None:
        study.enqueue_trial(
            {name: family.knobs[name].index(value) for name, value in fixed.items()}
        )
    known = {_key(found.choice): found.cost for found in _candidates(study, family)}
    trial = study.ask(
        {name: IntDistribution(0, len(values) - 1) for name, values in family.knobs.items()}
    )
    choice = _choice(family, trial.params)
    found = known.get(_key(choice)) or cost(family.config(base, choice))
    trial.set_user_attr(_COST, json.dumps(found.as_json()))
    for name, excess in budget.excess(found).items():
        trial.set_constraint(name, excess)
    study.tell(trial, found.gmacs)
    return Candidate(choice, found)


def _first_choices(family: Family) -> list[Choice]:
    """The smallest student, which tells at once whether the budget can be met, and the config's."""
    return [family.smallest, family.start]


def _choice(family: Family, indices: Mapping[str, int]) -> dict[str, float]:
    return {name: values[indices[name]] for name, values in family.knobs.items()}


def _key(choice: Choice) -> tuple[float, ...]:
    return tuple(choice.values())


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])


def _drop_unfinished(study: optuna.Study) -> None:
    """What an interrupted command left running or waiting is not taken up again."""
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING, TrialState.WAITING]):
        study.tell(trial.number, state=TrialState.FAIL)


def _candidates(study: optuna.Study, family: Family) -> list[Candidate]:
    found: dict[tuple[float, ...], Candidate] = {}
    for trial in _finished(study):
        choice = _choice(family, trial.params)
        cost = StudentCost.from_json(json.loads(trial.user_attrs[_COST]))
        found.setdefault(_key(choice), Candidate(choice, cost))
    return list(found.values())


def _infeasible(family: Family, budget: Budget, found: list[Candidate]) -> UserError:
    fastest = min(found, key=lambda each: budget.compared_ms(each.cost)).cost
    limit = f"{budget.latency_ms:g} ms"
    if budget.by == "high":
        limit += f" with the upper end of the {fastest.coverage:.0%} interval"
    if budget.parameters_m is not None:
        limit += f" and {budget.parameters_m:g} M parameters"
    looked_at = "the smallest" if len(found) == 1 else f"the fastest of {len(found)} looked at"
    return UserError(
        f"no student of the family {family.name} keeps the budget of {limit}: {looked_at} takes "
        f"{budget.compared_ms(fastest):.2f} ms and has {fastest.parameters_m:.2f} M parameters "
        f"({fastest.input}); raise the budget, choose a faster device, mode or precision, or "
        "start from another family"
    )


class _Progress:
    """A line a trial: what it was, the best so far, and when the rest will be done."""

    def __init__(self, budget: Budget, trials: int, say: Callable[[str], None]) -> None:
        self.budget, self.trials, self.say = budget, trials, say
        self.best: StudentCost | None = None
        self.start_s, self.done = time.monotonic(), 0

    def report(self, number: int, found: Candidate) -> None:
        """After trial ``number``, counted from 1."""
        self.done += 1
        cost = found.cost
        within = self.budget.holds(cost)
        if within and (self.best is None or cost.gmacs > self.best.gmacs):
            self.best = cost
        left_s = (time.monotonic() - self.start_s) / self.done * (self.trials - number)
        best = "none yet" if self.best is None else f"{self.best.gmacs:.2f} G"
        self.say(
            f"{number}/{self.trials}  {self.budget.compared_ms(cost):7.2f} ms  "
            f"{cost.gmacs:8.2f} G  "
            f"{cost.parameters_m:6.2f} M  {'within' if within else 'above '}  best {best}  "
            f"{left_s:.0f} s left"
        )
