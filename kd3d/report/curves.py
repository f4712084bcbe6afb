"""Loss curves, read from the scalars that MMEngine's logger leaves in a run folder."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

from kd3d.report.charts import Series, line_plot
from kd3d.report.summary import STUDENTS, Group, Summary

_TASK = re.compile(r"^task\d+\.")
MAX_POINTS = 150
MAX_TASK_LOSSES = 6
Curve = dict[int, float]  # iteration -> value


def read_losses(folder: Path) -> dict[str, Curve]:
    """Loss name -> curve, of every log below a run folder.

    A resumed run has several logs; where they overlap the later one counts. Lines that were cut
    off by an interruption are passed over. The tasks of a CenterHead (``task0.loss_heatmap``, ...)
    are added up.
    """
    curves: dict[str, Curve] = {}
    for log in sorted(folder.glob("*/vis_data/scalars.json")):
        for line in log.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if "loss" not in entry:  # a validation's line
                continue
            for name, value in _losses(entry).items():
                curves.setdefault(name, {})[int(entry["step"])] = value
    return curves


def _losses(entry: Mapping[str, object]) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, value in entry.items():
        if "loss" in name and isinstance(value, (int, float)) and math.isfinite(value):
            whole = _TASK.sub("", name)
            values[whole] = values.get(whole, 0.0) + float(value)
    return values


def loss_charts(summary: Summary) -> tuple[list[str], list[str]]:
    """Charts of each pair's loss and of the student's own losses.

    Returns:
        (pair charts, task charts); both empty where no run has a log.
    """
    logs = {
        group.role: [read_losses(folder) for folder in group.folders.values()]
        for group in summary.groups.values()
        if group.role in STUDENTS and group.is_main
    }
    pairs = _pair_losses(logs, summary)
    everything = dict.fromkeys(name for runs in logs.values() for run in runs for name in run)
    task = [name for name in everything if name not in pairs and name != "loss"]
    return (
        [_chart(name, {"distilled": logs["distilled"]}) for name in pairs],
        [_chart(name, logs) for name in task[:MAX_TASK_LOSSES]],
    )


def _pair_losses(logs: Mapping[str, list[dict[str, Curve]]], summary: Summary) -> list[str]:
    """Names of the losses that distillation added: as measured, or as no twin has them."""
    distilled = dict.fromkeys(name for run in logs.get("distilled", []) for name in run)
    group: Group | None = summary.groups.get("distilled")
    measured = {
        f"loss_{name.removeprefix('gradient_share/')}"
        for record in (group.training.values() if group else [])
        for name in record.metrics
        if name.startswith("gradient_share/")
    }
    plain = {name for role in ("baseline", "control") for run in logs.get(role, []) for name in run}
    if measured:
        return [name for name in distilled if name in measured]
    return [name for name in distilled if plain and name not in plain]


def _chart(name: str, logs: Mapping[str, list[dict[str, Curve]]]) -> str:
    lines = []
    for role, runs in logs.items():
        curves = [run[name] for run in runs if run.get(name)]
        if len(curves) > 1:
            lines += [Series(role, role, _thinned(curve), faint=True) for curve in curves]
        if curves:
            lines.append(Series(role, f"{role}, mean", _thinned(_mean(curves))))
    return line_plot(name, sorted(lines, key=lambda line: not line.faint))


def _mean(curves: list[Curve]) -> Curve:
    common = set.intersection(*(set(curve) for curve in curves)) or set(curves[0])
    return {step: mean(c[step] for c in curves if step in c) for step in sorted(common)}


def _thinned(curve: Curve) -> list[tuple[float, float]]:
    points = [(float(step), value) for step, value in sorted(curve.items())]
    stride = -(-len(points) // MAX_POINTS)
    return points[::stride]
