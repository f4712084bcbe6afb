"""The summary as one table: the same cells for Markdown and for the page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kd3d.evaluation.gap import GapClosed
from kd3d.report.summary import STUDENTS, VARIANT, WALL_CLOCK, Group, Statistic, Summary

ABSENT = "-"
_SECOND = {"NDS": "mAP", "AP": "AP50"}  # shown beside the metric that ranks
PLUS_MINUS = "\u00b1"
NO_LATENCY = (
    "No latency was measured; tools/export.py CONFIG CHECKPOINT --out DIR and then "
    "tools/benchmark.py DIR --backend onnxruntime measure it."
)


@dataclass(frozen=True)
class Row:
    """One row: the group it shows and its cells, in the order of ``Table.columns``."""

    group: Group
    cells: list[str]


@dataclass(frozen=True)
class Table:
    """Columns, rows and the sentences that belong below them."""

    columns: list[str]
    rows: list[Row]
    notes: list[str]


def summary_table(summary: Summary) -> Table:
    """Teacher, twins and distilled student side by side; variants stand in the ablation."""
    latency = ", ".join(filter(None, ("latency p50", summary.latency_backend)))
    columns = [
        "",
        "parameters",
        "runs",
        summary.metric,
        _SECOND[summary.metric],
        "gap closed vs baseline",
        "gap closed vs control",
        latency,
        "file",
    ]
    shown = [group for group in summary.groups.values() if not group.key.startswith(VARIANT)]
    rows = [Row(group, _cells(group, summary)) for group in shown]
    return Table(columns, rows, _notes(summary, rows))


def markdown(table: Table) -> str:
    """The table with its notes; text left, numbers right."""
    lines = [
        _line(table.columns),
        _line([":--", *["--:"] * (len(table.columns) - 1)]),
        *[_line(row.cells) for row in table.rows],
    ]
    return "\n".join(lines) + "\n\n" + "".join(f"{note}\n\n" for note in table.notes)


def statistic_text(value: Statistic | None) -> str:
    """Such as "30.6 +- 0.4"; a single run has no deviation."""
    if value is None:
        return ABSENT
    if value.std is None:
        return f"{value.mean:.1f}"
    return f"{value.mean:.1f} {PLUS_MINUS} {value.std:.1f}"


def gap_text(gap: GapClosed | None) -> str:
    """Such as "61 +- 8 %"; "undefined" where the teacher is not better."""
    if gap is None:
        return ABSENT
    if gap.mean is None:
        return "undefined"
    spread = "" if gap.std is None else f" {PLUS_MINUS} {100 * gap.std:.0f}"
    return f"{100 * gap.mean:.0f}{spread} %"


def parameters_text(count: int | None) -> str:
    """Such as "1.23 M"."""
    if count is None:
        return ABSENT
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count / 1e3:.1f} k"


def _cells(group: Group, summary: Summary) -> list[str]:
    distilled = group.key == "distilled"
    return [
        group.label,
        parameters_text(group.parameters),
        str(len(group.runs)),
        statistic_text(group.statistic(summary.metric)),
        statistic_text(group.statistic(_SECOND[summary.metric])),
        gap_text(summary.gaps.get("baseline")) if distilled else "",
        gap_text(summary.gaps.get("control")) if distilled else "",
        _measured_text(group, summary, _latency_ms, "ms"),
        _measured_text(group, summary, _file_size_mb, "MB"),
    ]


def _latency_ms(group: Group, summary: Summary) -> float | None:
    record = group.latency.get(summary.latency_backend)
    return None if record is None else record.metrics.get("p50_ms")


def _file_size_mb(group: Group, _: Summary) -> float | None:
    return None if group.export is None else group.export.metrics.get("file_size_mb")


def _measured_text(
    group: Group,
    summary: Summary,
    measure: Callable[[Group, Summary], float | None],
    unit: str,
) -> str:
    """The group's own figure, else in parentheses that of a student with the same network."""
    own = measure(group, summary)
    if own is not None:
        return f"{own:.1f} {unit}"
    if group.role in STUDENTS:
        for twin in summary.groups.values():
            value = measure(twin, summary)
            if twin.role in STUDENTS and twin.parameters == group.parameters and value is not None:
                return f"({value:.1f} {unit})"
    return ABSENT


def _notes(summary: Summary, rows: list[Row]) -> list[str]:
    notes = ["Measured in a synthetic world."] if summary.is_synthetic else []
    notes += [f"{summary.refusal}."] if summary.refusal else []
    for reference, gap in summary.gaps.items():
        name = reference.replace(WALL_CLOCK, " at equal wall clock")
        if gap.mean is None:
            notes.append(f"Gap closed vs {name}: {gap.reason}.")
        elif WALL_CLOCK in reference:
            notes.append(f"Gap closed vs {name}: {gap_text(gap)} ({_seeds(len(gap.per_seed))}).")
    if any(cell.startswith("(") for row in rows for cell in row.cells):
        notes.append("In parentheses: measured once, on another student with the same network.")
    if summary.metric == "NDS" and not summary.refusal:
        notes += _kept(summary)
    if not summary.latency_backend:
        notes.append(NO_LATENCY)
    return notes


def _kept(summary: Summary) -> list[str]:
    """What the distilled student keeps of its teacher's score, and what it costs beside it."""
    teacher, student = summary.groups["teacher"], summary.groups["distilled"]
    theirs, ours = teacher.statistic(summary.metric), student.statistic(summary.metric)
    assert theirs is not None, "a summary without a score has a refusal"
    assert ours is not None, "likewise"
    if summary.gaps["baseline"].mean is None:  # it has nothing to give
        return []
    said = (
        f"The distilled student keeps {100 * ours.mean / theirs.mean:.1f} % of the teacher's "
        f"{summary.metric} ({ours.mean - theirs.mean:+.1f} points)"
    )
    if teacher.parameters and student.parameters:
        said += f", with {100 * student.parameters / teacher.parameters:.1f} % of its parameters"
    slow_ms, fast_ms = (_latency_ms(group, summary) for group in (teacher, student))
    if slow_ms and fast_ms:
        said += f", at {slow_ms / fast_ms:.1f} times its speed ({summary.latency_backend})"
    return [f"{said}."]


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count != 1 else ''}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
