"""What a recipe showed: distilled runs linked to their twins, and the gap they closed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kd3d.evaluation.gap import GapClosed
from kd3d.recipes.plan import Run
from kd3d.report.record import ACCURACY_FILE, Record, find_records
from kd3d.report.summary import Summary, summarize
from kd3d.report.table import PLUS_MINUS, gap_text


def link_twins(runs: Sequence[Run], work_dir: Path) -> Summary:
    """Writes its twins and the gap closed into the record of every distilled run.

    ``twin`` gets the names of the runs of its seed. ``metrics`` gets, for each kind of twin,
    ``gap_closed/<twin>`` of this seed and ``gap_closed/<twin>/mean`` and ``/std`` over all
    seeds, as fractions; what is undefined is left out, and all of it while a kind of twin is
    missing.

    Args:
        runs: of the plan; those without an accuracy record are left out.
        work_dir: of the recipe.

    Returns:
        The summary of all records, as the report shows it.
    """
    paths = {run.name: work_dir / run.name / ACCURACY_FILE for run in runs}
    present = [run for run in runs if paths[run.name].is_file()]
    summary = summarize(find_records(work_dir))
    for run in present:
        if run.role != "distilled":
            continue
        twin = {
            other.group: other.name
            for other in present
            if other.role == "teacher" or (other.role != "distilled" and other.seed == run.seed)
        }
        record = Record.read(paths[run.name])
        own = {k: v for k, v in record.metrics.items() if not k.startswith("gap_closed")}
        gaps = summary.variants.get(run.group, summary.gaps)
        metrics = {**own, **_gap_metrics(gaps, run.seed)}
        replace(record, twin=twin, metrics=metrics).write(paths[run.name])
    return summary


def gap_table(summary: Summary) -> str:
    """NDS or AP of every kind of run at every seed, and the gap closed against each twin.

    A variant of the distilled run stands with the gaps that it closed itself.
    """
    lines = [f"{'':30}{f'{summary.metric} of each seed':34}gap closed"]
    for key, group in summary.groups.items():
        each = " / ".join(f"{value:.1f}" for value in group.values(summary.metric).values())
        gap = _gap_text(summary.gaps[key]) if key in summary.gaps else ""
        if key in summary.variants:
            own = summary.variants[key]
            gap = ", ".join(f"{_percent(own[twin])} vs {twin}" for twin in ("baseline", "control"))
        lines.append(f"{group.label:30}{each:34}{gap}".rstrip())
    world = "measured in a synthetic world" if summary.is_synthetic else ""
    return "\n".join([*lines, *filter(None, [world, summary.refusal])])


def _gap_metrics(gaps: Mapping[str, GapClosed], seed: int) -> dict[str, float]:
    values = {}
    for key, gap in gaps.items():
        values[f"gap_closed/{key}"] = gap.per_seed.get(seed)
        values[f"gap_closed/{key}/mean"] = gap.mean
        values[f"gap_closed/{key}/std"] = gap.std
    return {key: value for key, value in values.items() if value is not None}


def _gap_text(gap: GapClosed) -> str:
    return gap.reason or f"{_percent(gap)} ({len(gap.per_seed)} seeds)"


def _percent(gap: GapClosed) -> str:
    return gap_text(gap).replace(PLUS_MINUS, "+-")  # a terminal may know no more than ASCII
