"""The ablation: what each variant of the distilled run brought, against the same twins."""

from statistics import mean

from kd3d.report.summary import Group, Summary
from kd3d.report.table import ABSENT, Row, Table, gap_text, statistic_text

_REFERENCES = ("baseline", "control")
_NOTE = (
    "All rows share teacher, baseline and control. Strength: mean over the run of "
    "|task + pairs| / |task| of the student's gradients; the control's ground-truth term was "
    "made stronger by that of the whole run, the last row. A variant much weaker than that is "
    "compared with a control that is stronger than its own would be."
)


def ablation_table(summary: Summary) -> Table | None:
    """Twins, every variant, and the whole distilled run; None where there are no variants."""
    if not summary.variants:
        return None
    columns = [
        *("", "runs", summary.metric, "above baseline", "above control"),
        *("gap closed vs baseline", "gap closed vs control", "strength", "iterations"),
    ]
    shown = [*_REFERENCES, *summary.variants, "distilled"]
    rows = [Row(summary.groups[key], _cells(summary.groups[key], summary)) for key in shown]
    return Table(columns, rows, [_NOTE])


def _cells(group: Group, summary: Summary) -> list[str]:
    gaps = summary.variants.get(group.key, summary.gaps if group.key == "distilled" else {})
    learned = group.role == "distilled"
    return [
        "distilled, whole" if group.key == "distilled" else group.label,
        str(len(group.runs)),
        statistic_text(group.statistic(summary.metric)),
        *(_above(group, key, summary) if learned else "" for key in _REFERENCES),
        *(gap_text(gaps.get(key)) if learned else "" for key in _REFERENCES),
        _mean_of(group, "gradient_scale", ".2f") if learned else "",
        _mean_of(group, "iterations", ".0f"),
    ]


def _above(group: Group, reference: str, summary: Summary) -> str:
    """Mean difference over the seeds that both have, in points."""
    ours = group.values(summary.metric)
    theirs = summary.groups[reference].values(summary.metric)
    both = ours.keys() & theirs.keys()
    return f"{mean(ours[seed] - theirs[seed] for seed in both):+.1f}" if both else ABSENT


def _mean_of(group: Group, metric: str, form: str) -> str:
    value = group.training_mean(metric)
    return ABSENT if value is None else format(value, form)
