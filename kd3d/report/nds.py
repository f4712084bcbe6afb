"""What NDS is made of: its parts, precision over recall, and every class at every distance."""

import json
from collections.abc import Iterable
from html import escape
from statistics import mean

from kd3d.report.charts import Series, bar_plot, line_plot
from kd3d.report.details import missing
from kd3d.report.details import table as plain_table
from kd3d.report.summary import MAIN_ROLES, Group, Summary

DISTANCE = "2"  # m, at which nuScenes measures the errors of what was found
_ERRORS = {  # of the mean: unit
    "mATE": "m",
    "mASE": "1 - IoU",
    "mAOE": "rad",
    "mAVE": "m/s",
    "mAAE": "1 - accuracy",
}
_APS = ("AP", "AP@0.5", "AP@1", "AP@2", "AP@4")
_CLASS_ERRORS = ("ATE", "ASE", "AOE", "AVE", "AAE")


def main_groups(summary: Summary) -> list[Group]:
    """Teacher, baseline, control and distilled student, as far as they are there."""
    return [summary.groups[role] for role in MAIN_ROLES if role in summary.groups]


def parts_chart(summary: Summary) -> str:
    """Bars of mAP and of 1 - each error (at least 0), in percent: NDS is their weighted mean."""
    groups = {}
    for group in main_groups(summary):
        parts = {}
        for name in ("mAP", *_ERRORS):
            value = group.statistic(name)
            if value is not None:
                good = value.mean if name == "mAP" else 100 * max(0.0, 1 - value.mean)
                parts[name if name == "mAP" else f"1 - {name}"] = good
        if parts:
            groups[group.role] = parts
    if not groups:
        return missing("No record has mAP or errors; tools/test.py CONFIG CHECKPOINT writes them.")
    names = dict.fromkeys(name for parts in groups.values() for name in parts)
    return f'<div class="scroll">{bar_plot(list(names), groups, "%")}</div>'


def parts_table(summary: Summary) -> str:
    """NDS, mAP and the errors in their own units, means over seeds; all groups."""
    columns = ["", "NDS", "mAP", *(f"{name}, {unit}" for name, unit in _ERRORS.items())]
    rows = []
    for group in summary.groups.values():
        values = [group.statistic(name) for name in ("NDS", "mAP", *_ERRORS)]
        texts = [
            "-" if value is None else f"{value.mean:.{1 if column < 2 else 3}f}"
            for column, value in enumerate(values)
        ]
        rows.append([group.label, *texts])
    return plain_table(columns, rows)


def precision_recall(summary: Summary) -> str:
    """A chart a class at 2 m: precision over recall, mean over the seeds."""
    curves = {group.role: _curves(group) for group in main_groups(summary)}
    classes = dict.fromkeys(name for found in curves.values() for name in found)
    if not classes:
        return missing(
            "No curves (curves.json) lie beside the accuracy records; tools/test.py CONFIG "
            "CHECKPOINT writes them."
        )
    charts = []
    for name in classes:
        lines = [Series(role, role, found[name]) for role, found in curves.items() if name in found]
        charts.append(line_plot(name, lines, width=330, height=210, over="recall"))
    return f'<div class="charts small">{"".join(charts)}</div>'


def class_table(summary: Summary) -> str:
    """Every class of every role: AP by matching distance, and errors; means over seeds."""
    groups = main_groups(summary)
    classes = dict.fromkeys(
        name for group in groups for run in group.runs.values() for name in run.per_class
    )
    rows = []
    for name in classes:
        for number, group in enumerate(groups):
            values = [_class_mean(group, name, key) for key in (*_APS, *_CLASS_ERRORS)]
            texts = [
                "-" if value is None else f"{value:.{1 if column < len(_APS) else 2}f}"
                for column, value in enumerate(values)
            ]
            rows.append([name if number == 0 else "", group.label, *texts])
    if not rows:
        return missing("No record has values per class; tools/test.py CONFIG CHECKPOINT does.")
    distances = [f"{key} m" if "@" in key else key for key in _APS]
    return plain_table(["", "", *distances, *_CLASS_ERRORS], rows, f"classes of-{len(groups)}")


def legend(roles: Iterable[str]) -> str:
    """Swatches of the roles' colours."""
    entries = "".join(
        f'<span><span class="swatch role-{escape(role)}"></span>{escape(role)}</span>'
        for role in roles
    )
    return f'<div class="legend">{entries}</div>'


def _curves(group: Group) -> dict[str, list[tuple[float, float]]]:
    """Class -> (recall, precision) at ``DISTANCE``, mean over the seeds that have a file."""
    found: dict[str, list[list[float]]] = {}
    recalls: list[float] = []
    for seed, record in group.runs.items():
        path = group.folders[seed] / record.files.get("curves", "")
        if not path.is_file():
            continue
        for name, by_distance in json.loads(path.read_text(encoding="utf-8")).items():
            curve = by_distance.get(DISTANCE) or by_distance.get(f"{DISTANCE}.0")
            if curve is not None:
                found.setdefault(name, []).append(curve["precision"])
                recalls = curve["recall"]
    return {
        name: [(recall, mean(values)) for recall, *values in zip(recalls, *curves, strict=True)]
        for name, curves in found.items()
    }


def _class_mean(group: Group, name: str, key: str) -> float | None:
    values = [
        run.per_class[name][key]
        for run in group.runs.values()
        if key in run.per_class.get(name, {})
    ]
    return mean(values) if values else None
