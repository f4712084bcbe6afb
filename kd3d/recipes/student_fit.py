"""Finds, writes and checks the largest student of a config's family within a vehicle's budget."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from mmengine.config import Config

from kd3d.configs import load_config
from kd3d.distill.inspection import Inspection
from kd3d.errors import UserError
from kd3d.evaluation.accuracy import config_hash
from kd3d.files import free_path, write_json
from kd3d.profiling.devices import Device, load_device
from kd3d.profiling.prediction.predictor_hash import predictor_hash
from kd3d.recipes.student_check import check_student
from kd3d.recipes.student_config import with_matched_pairs, write_student
from kd3d.recipes.student_cost import StudentCost, student_cost
from kd3d.recipes.student_family import Family, family_of
from kd3d.recipes.student_search import Budget, Candidate, SearchResult, search_student
from kd3d.report.pareto import pareto_front, pareto_picture

STUDENT_FILE, STUDY_FILE, RESULT_FILE = "student.py", "study.db", "candidates.json"
# Beside student.py, for what a config names is relative to its folder.
_UNCHECKED_FILE, _REJECTED_FILE = "student.unchecked.py", "student.rejected.py"
_LISTED = 5  # of the largest, for people


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What is asked for.

    Attributes:
        device: "NAME" or "NAME:MODE", see ``kd3d.profiling.devices``.
        budget: of the student.
        precision, protocol: of the prediction.
        trials: students to look at.
        seed: of the search.
        fixed: knobs that do not vary.
    """

    device: str
    budget: Budget
    precision: str = "int8"
    protocol: str = "engine"
    trials: int = 60
    seed: int = 0
    fixed: Mapping[str, float] = field(default_factory=dict)


def fit_student(
    source: str, settings: FitSettings, folder: Path, *, force: bool, say: Callable[[str], None]
) -> Path:
    """Searches, writes candidates.json, pareto.png and pareto.svg, checks, writes student.py.

    A student.py is one that has passed, so that a call after an interrupt goes on.

    Args:
        source: a distillation config, or one of a student, a path or ``mmdet::...``.
        settings: what is asked for.
        folder: for all files; study.db in it keeps the search.
        force: replace an earlier student.py; it stays if the new one does not pass.
        say: takes lines of progress.

    Returns:
        Path of student.py.

    Raises:
        UserError: see ``search_student``; the student's pairs do not pass the preflight.
        FileExistsError: a student.py is there.
    """
    base = load_config(source)
    family = family_of(base).with_fixed(settings.fixed)
    device = load_device(settings.device)
    path = free_path(folder / STUDENT_FILE, force=force)
    result = search_student(
        base,
        family,
        partial(
            student_cost, device=device, precision=settings.precision, protocol=settings.protocol
        ),
        budget=settings.budget,
        trials=settings.trials,
        seed=settings.seed,
        storage=folder / STUDY_FILE,
        study=_study_name(base, family, device, settings),
        say=say,
    )
    best = result.ranked[0]
    _write_result(folder, result, settings, device)
    say(_ranking(result))
    student = with_matched_pairs(family.config(base, best.choice))
    comment = _comment(source, best, settings, device)
    unchecked = write_student(folder / _UNCHECKED_FILE, source, student, comment=comment)
    for inspection in _checked(unchecked, say):
        pairs = [
            f"Pair {pair.name}: connector {pair.connector.partition('(')[0]}."
            for pair in inspection.pairs
        ]
        comment = [*comment, *pairs]
    return write_student(unchecked, source, student, comment=comment).replace(path)


def _checked(path: Path, say: Callable[[str], None]) -> list[Inspection]:
    say("preflight of the student's pairs, on made-up frames")
    try:
        inspections = check_student(path)
    except UserError as error:
        rejected = path.replace(path.with_name(_REJECTED_FILE))
        raise UserError(
            f"the student's pairs do not fit its teacher: {error}\nThe config is in {rejected}; "
            "change its pairs, or leave the knob alone that broke them: --fix NAME=VALUE"
        ) from None
    for inspection in inspections:
        say(inspection.text)
    if not inspections:
        say("no DistillHook: the student trains without a teacher")
    return inspections


def _write_result(
    folder: Path, result: SearchResult, settings: FitSettings, device: Device
) -> None:
    found = result.candidates
    budget = result.budget
    points = [(budget.compared_ms(each.cost), each.cost.gmacs) for each in found]
    best = result.ranked[0].cost
    front = set(pareto_front(points))
    rows = [
        {
            **each.choice,
            **each.cost.as_json(),
            "within": budget.holds(each.cost),
            "front": index in front,
        }
        for index, each in enumerate(found)
    ]
    write_json(
        folder / RESULT_FILE,
        {"settings": asdict(settings), "device": asdict(device), "candidates": rows},
    )
    for suffix in ("png", "svg"):
        pareto_picture(
            points,
            folder / f"pareto.{suffix}",
            budget_ms=budget.latency_ms,
            best=(budget.compared_ms(best), best.gmacs),
            title=f"{device.name} ({device.mode}), {settings.precision}, {settings.protocol}, "
            f"{budget.by}",
        )


def _ranking(result: SearchResult) -> str:
    lines = ["the largest within the budget (train more than the first before you decide):"]
    for place, found in enumerate(result.ranked[:_LISTED], start=1):
        lines.append(f"  {place}. {_text(found.cost)}: {_choice_text(found.choice)}")
    best, budget = result.ranked[0].cost, result.budget
    lines.append(f"the first: {_interval(best)}; within {budget.latency_ms:g} ms {_by(budget)}")
    lines += [f"  warning: {text}" for text in best.warnings]
    if budget.by == "median":
        lines.append(
            "  Measured, about every second such student misses its budget; --budget-by high takes "
            "the upper end of the interval"
        )
    return "\n".join(lines)


def _comment(source: str, best: Candidate, settings: FitSettings, device: Device) -> list[str]:
    cost, budget = best.cost, settings.budget
    cap = "" if budget.parameters_m is None else f" and {budget.parameters_m:g} M parameters"
    return [
        f"The largest student of {source}",
        f"found within {budget.latency_ms:g} ms {_by(budget)}{cap} by tools/fit_student.py:",
        f"{_choice_text(best.choice)}.",
        f"Predicted for {device.name} ({device.mode}), {settings.precision}, protocol "
        f"{settings.protocol}:",
        f"{_interval(cost)}; {cost.gmacs:.2f} G multiply-adds,",
        f"{cost.parameters_m:.3f} M parameters, {cost.input}, without making voxels and without "
        "NMS.",
    ]


def _text(cost: StudentCost) -> str:
    return f"{cost.latency_ms:.2f} ms, {cost.gmacs:.2f} G, {cost.parameters_m:.2f} M"


def _interval(cost: StudentCost) -> str:
    return (
        f"{cost.latency_ms:.2f} ms, {cost.coverage:.0%} between {cost.low_ms:.2f} and "
        f"{cost.high_ms:.2f} ms"
    )


def _by(budget: Budget) -> str:
    return "by the upper end of the interval" if budget.by == "high" else "by the median"


def _choice_text(choice: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in choice.items())


def _study_name(base: Config, family: Family, device: Device, settings: FitSettings) -> str:
    """Stands for all that a trial depends on, so that a study is never continued with others."""
    given = {
        "config": config_hash(base),
        "knobs": family.knobs,
        "device": asdict(device),
        "budget": asdict(settings.budget),
        "predictor": predictor_hash(),
        "precision": settings.precision,
        "protocol": settings.protocol,
        "seed": settings.seed,
    }
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]
