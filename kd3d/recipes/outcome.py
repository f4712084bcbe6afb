"""What a recipe showed: distilled runs linked to their twins, and the gap they closed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kd3d.evaluation.gap import GapClosed, gap_closed
from kd3d.recipes.plan import Run
from kd3d.recipes.progress import ACCURACY
from kd3d.report.record import Record

METRIC = "AP"


def link_twins(runs: Sequence[Run], work_dir: Path) -> dict[str, GapClosed]:
    """Writes its twins and the gap closed into the record of every distilled run.

    ``twin`` gets the names of the runs of its seed. ``metrics`` gets, for each kind of twin,
    ``gap_closed/<twin>`` of this seed and ``gap_closed/<twin>/mean`` and ``/std`` over all
    seeds, as fractions; what is undefined is left out.

    Args:
        runs: of the plan; those without an accuracy record are left out.
        work_dir: of the recipe.

    Returns:
        "baseline", "control", ... -> the gap closed against it, of the finished kinds.
    """
    records = _accuracies(runs, work_dir)
    gaps = _gaps(runs, records)
    for run in runs:
        if run.role != "distilled" or run.name not in records:
            continue
        twin = {
            other.group: other.name
            for other in runs
            if other.role != "distilled"
            and other.name in records
            and (other.seed == run.seed or other.role == "teacher")
        }
        old = {k: v for k, v in records[run.name].metrics.items() if not k.startswith("gap_closed")}
        metrics = {**old, **_gap_metrics(gaps, run.seed)}
        linked = replace(records[run.name], twin=twin, metrics=metrics)
        linked.write(work_dir / run.name / ACCURACY)
    return gaps


def gap_table(runs: Sequence[Run], work_dir: Path, gaps: Mapping[str, GapClosed]) -> str:
    """AP of every kind of run with its deviation, and the gap closed against each twin, as text.

    Args:
        runs: of the plan.
        work_dir: of the recipe.
        gaps: from ``link_twins``.
    """
    records = _accuracies(runs, work_dir)
    lines = [f"{'run':22}{'AP over seeds':34}gap closed against it"]
    for group in dict.fromkeys(run.group for run in runs):
        values = _by_seed(runs, records, group)
        if values:
            each = " / ".join(f"{value:.1f}" for value in values.values())
            lines.append(f"{group:22}{each:34}{_gap_text(gaps.get(group))}".rstrip())
    return "\n".join(lines)


def _accuracies(runs: Sequence[Run], work_dir: Path) -> dict[str, Record]:
    paths = {run.name: work_dir / run.name / ACCURACY for run in runs}
    return {name: Record.read(path) for name, path in paths.items() if path.is_file()}


def _by_seed(runs: Sequence[Run], records: Mapping[str, Record], group: str) -> dict[int, float]:
    return {
        run.seed: records[run.name].metrics[METRIC]
        for run in runs
        if run.group == group and METRIC in getattr(records.get(run.name), "metrics", {})
    }


def _gaps(runs: Sequence[Run], records: Mapping[str, Record]) -> dict[str, GapClosed]:
    distilled = _by_seed(runs, records, "distilled")
    teacher = list(_by_seed(runs, records, "teacher").values())
    gaps = {}
    for group in dict.fromkeys(run.group for run in runs):
        reference = _by_seed(runs, records, group)
        if group not in ("teacher", "distilled") and reference and distilled and teacher:
            gaps[group] = gap_closed(distilled, reference, teacher[0])
    return gaps


def _gap_metrics(gaps: Mapping[str, GapClosed], seed: int) -> dict[str, float]:
    values = {}
    for group, gap in gaps.items():
        values[f"gap_closed/{group}"] = gap.per_seed.get(seed)
        values[f"gap_closed/{group}/mean"] = gap.mean
        values[f"gap_closed/{group}/std"] = gap.std
    return {key: value for key, value in values.items() if value is not None}


def _gap_text(gap: GapClosed | None) -> str:
    if gap is None:
        return ""
    if gap.mean is None:
        return gap.reason
    deviation = "" if gap.std is None else f" +- {100 * gap.std:.0f}"
    return f"{100 * gap.mean:.0f}{deviation} % ({len(gap.per_seed)} seeds)"
