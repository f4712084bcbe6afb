"""The page's lower half: training cost, latency, environment, commands, list of records."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from kd3d.report.record import Record
from kd3d.report.summary import Summary
from kd3d.report.table import ABSENT, NO_LATENCY, Row, Table

_LATENCY = {
    "p50_ms": "p50, ms",
    "p90_ms": "p90, ms",
    "p99_ms": "p99, ms",
    "max_ms": "max, ms",
    "jitter_ms": "jitter, ms",
    "mean_ms": "mean, ms",
    "device_p50_ms": "device p50, ms",
    "throughput_fps": "frames / s",
    "iterations": "iterations",
}
_TRAINING = {
    "iterations": "iterations",
    "seconds_per_iter": "s / iteration",
    "peak_memory_mb": "peak memory, MB",
}
_SHARE = "gradient_share/"


def missing(sentence: str) -> str:
    """A sentence in the place of a part that cannot be shown."""
    return f'<p class="missing">{escape(sentence)}</p>'


def training_table(summary: Summary) -> str:
    """What each role's training cost, and how strong the pairs were; means over seeds."""
    groups = [group for group in summary.groups.values() if group.training]
    if not groups:
        return missing(
            "No training record (record-training.json) lies beside the others; tools/train.py "
            "writes it."
        )
    shares = dict.fromkeys(
        key
        for group in groups
        for record in group.training.values()
        for key in record.metrics
        if key.startswith(_SHARE)
    )
    columns = [*_TRAINING, *shares]
    rows = [[group.label, *(_number(group.training_mean(c)) for c in columns)] for group in groups]
    names = [f"gradient share of {key.removeprefix(_SHARE)}" for key in shares]
    return table(["", *_TRAINING.values(), *names], rows)


def recipe_time(records: Iterable[Record]) -> str:
    """How long the recipes took, stage by stage; empty where no record tells it."""
    rows = []
    for record in records:
        if record.kind == "recipe":
            stages = {k: v for k, v in record.metrics.items() if k != "wall_clock_s"}
            each = ", ".join(f"{k.removesuffix('_s')} {v / 60:.1f}" for k, v in stages.items())
            whole = f"{record.metrics.get('wall_clock_s', 0.0) / 60:.1f}"
            machine = f"{record.environment.get('cores', '?')} cores"
            rows.append([record.name, whole, each, f"{machine}, {_joined(record.conditions)}"])
    columns = ["recipe", "minutes in all", "of which", "conditions"]
    return table(columns, rows, "latency") if rows else ""


def latency_table(summary: Summary) -> str:
    """Percentiles of every role and backend, with the conditions of each."""
    rows = [
        [
            f"{group.label}, {backend}",
            *(_number(record.metrics.get(column)) for column in _LATENCY),
            _joined(record.conditions),
        ]
        for group in summary.groups.values()
        for backend, record in group.latency.items()
    ]
    if not rows:
        return missing(NO_LATENCY)
    return table(["", *_LATENCY.values(), "conditions"], rows, "latency")


def parity_table(summary: Summary) -> Table | None:
    """How far exported networks are from PyTorch; None where no record of an export tells it."""
    rows = []
    for group in summary.groups.values():
        record = group.export
        if record is None or "boxes_matched" not in record.metrics:
            continue
        said = record.conditions
        cells = [
            group.label,
            f"{said.get('backend', ABSENT)}, {said.get('precision', ABSENT)}",
            str(said.get("parity_inputs", ABSENT)),
            _number(record.metrics.get("max_abs_difference")),
            f"{100 * record.metrics['boxes_matched']:.1f} %",
            "yes" if said.get("passed") else "no",
        ]
        rows.append(Row(group, cells))
    columns = ["", "backend", "inputs", "largest difference", "boxes matched", "passed"]
    return Table(columns, rows, []) if rows else None


def environment_facts(records: Iterable[Record]) -> str:
    """Each entry with all its values: more than one says that machines or versions differ."""
    values: dict[str, dict[str, None]] = {}
    for record in records:
        for key, value in record.environment.items():
            if value:
                values.setdefault(key, {})[value] = None
    if not values:
        return missing("The records carry no environment.")
    return _facts(values)


def condition_facts(records: Iterable[Record]) -> str:
    """The conditions of every kind of record but latency, which has them in its table."""
    values: dict[str, dict[str, None]] = {}
    for record in records:
        for key, value in record.conditions.items():
            if key != "command" and record.kind != "latency":
                values.setdefault(f"{record.kind}: {key}", {})[str(value)] = None
    return _facts(values) if values else missing("The records carry no conditions.")


def commands(records: Iterable[Record], command: str) -> str:
    """The commands that records name, and the one that made the page."""
    said = {str(r.conditions["command"]): None for r in records if "command" in r.conditions}
    return f"<pre>{escape(chr(10).join([*said, command]))}</pre>"


def record_list(records: Mapping[Path, Record]) -> str:
    """Every record with its config, its weights and its file."""
    rows = [
        [
            record.name,
            record.kind,
            "-" if record.seed is None else str(record.seed),
            f"{record.config} {record.config_hash}".strip() or "-",
            f"{record.checkpoint} {record.checkpoint_hash}".strip() or "-",
            record.created.removesuffix("+00:00").replace("T", " "),
            str(path),
        ]
        for path, record in records.items()
    ]
    columns = ["run", "kind", "seed", "config, hash", "checkpoint, hash", "created (UTC)", "file"]
    return table(columns, rows, "records")


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"


def _joined(conditions: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in conditions.items() if key != "command")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], style: str = "") -> str:
    """A plain table of text; ``style`` are its CSS classes."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return (
        f'<div class="scroll"><table class="{style}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _facts(values: Mapping[str, Iterable[str]]) -> str:
    entries = "".join(
        f"<div><dt>{escape(key)}</dt><dd>{escape('; '.join(found))}</dd></div>"
        for key, found in values.items()
    )
    return f'<dl class="facts">{entries}</dl>'
