"""One self-contained HTML page: no script, nothing loaded from elsewhere, light and dark."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from kd3d.report.ablation import ablation_table
from kd3d.report.bev_frames import MAX_FRAMES
from kd3d.report.bev_frames import MIN_SCORE as BEV_SCORE
from kd3d.report.bev_pictures import bev_pictures
from kd3d.report.charts import Series, bar_plot, dot_plot
from kd3d.report.curves import loss_charts
from kd3d.report.details import (
    commands,
    condition_facts,
    environment_facts,
    latency_table,
    missing,
    parity_table,
    recipe_time,
    record_list,
    training_table,
)
from kd3d.report.headline import caveats, headline
from kd3d.report.nds import (
    class_table,
    legend,
    main_groups,
    parts_chart,
    parts_table,
    precision_recall,
)
from kd3d.report.page_style import STYLE
from kd3d.report.record import Record
from kd3d.report.samples import MIN_IOU, MIN_SCORE, sample_pictures
from kd3d.report.summary import MAIN_ROLES, STUDENTS, Summary
from kd3d.report.table import Table, summary_table

MAX_CLASSES = 12
GENERATOR = '<meta name="generator" content="kd3d report">'


def page(summary: Summary, records: Mapping[Path, Record], *, command: str, title: str = "") -> str:
    """The whole page.

    Args:
        summary: of those records.
        records: path -> record, all of them.
        command: that makes this page, to be printed on it.
        title: of a chapter among several.
    """
    body = [
        f"<h1>kd3d report{escape(f': {title}' if title else '')}</h1>",
        f'<p class="headline">{escape(headline(summary))}</p>',
        _caveats(summary),
        section(
            "Result",
            table_html(summary_table(summary)),
            f"{summary.metric} in percent, mean and sample "
            "deviation over seeds. Gap closed: (distilled - twin) / (teacher - twin).",
        ),
        section(f"{summary.metric} of each seed", _dots(summary)),
        _ablation(summary),
        _losses(summary),
        section("AP of each class", _bars(summary)),
        *(_nuscenes(summary) if summary.metric == "NDS" else [_pictures(summary)]),
        section("Training", training_table(summary), "Mean over seeds."),
        _time(records),
        section("Latency", latency_table(summary)),
        _parity(summary),
        section("Environment", environment_facts(records.values())),
        section("Conditions", condition_facts(records.values())),
        section("Commands", commands(records.values(), command)),
        section("Records", record_list(records)),
    ]
    return document(body, f"kd3d report: {title}" if title else "kd3d report")


def document(body: Sequence[str], title: str = "kd3d report") -> str:
    """A whole HTML page around its parts."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{GENERATOR}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def section(title: str, content: str, explained: str = "") -> str:
    """A heading, a sentence on what follows, and the content as HTML."""
    text = f'<p class="soft">{escape(explained)}</p>' if explained else ""
    return f"<h2>{escape(title)}</h2>{text}{content}"


def _caveats(summary: Summary) -> str:
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in caveats(summary))
    return f'<div class="caveats">What limits this result:<ul>{said}</ul></div>' if said else ""


def _time(records: Mapping[Path, Record]) -> str:
    table = recipe_time(records.values())
    said = "By the clock, all commands that worked on it together; the report itself not counted."
    return section("Time", table, said) if table else ""


def _color(role: str) -> str:
    return f"role-{role if role in MAIN_ROLES else 'other'}"


def table_html(table: Table) -> str:
    """A table with its notes below it."""
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = []
    for row in table.rows:
        name, *rest = row.cells
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        swatch = f'<span class="swatch {_color(row.group.role)}"></span>'
        rows.append(
            f'<tr class="{escape(row.group.key)}"><td>{swatch}{escape(name)}</td>{cells}</tr>'
        )
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in table.notes)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{notes}"
    )


def _ablation(summary: Summary) -> str:
    table = ablation_table(summary)
    return "" if table is None else section("Ablation", table_html(table))


def _parity(summary: Summary) -> str:
    table = parity_table(summary)
    said = "Of what the network puts out, and of the boxes made of it, against PyTorch."
    return "" if table is None else section("Parity of the exports", table_html(table), said)


def _dots(summary: Summary) -> str:
    metric = summary.metric
    rows = [
        Series(_color(group.role).removeprefix("role-"), group.label, [(v, 0) for v in values])
        for group in summary.groups.values()
        if (values := list(group.values(metric).values()))
    ]
    if not rows:
        return missing(
            f"No accuracy record has an {metric}; tools/test.py CONFIG CHECKPOINT makes one."
        )
    teacher = summary.groups["teacher"].statistic(metric) if "teacher" in summary.groups else None
    chart = dot_plot(rows, unit=metric, reference=teacher.mean if teacher else None)
    return f'<div class="scroll">{chart}</div>'


def _losses(summary: Summary) -> str:
    pairs, task = loss_charts(summary)
    roles = [role for role in STUDENTS if role in summary.groups]
    pair_part = (
        f'<div class="charts">{"".join(pairs)}</div>'
        if pairs
        else missing(
            "No loss curve of a pair: no log (*/vis_data/scalars.json) of a distilled run and its "
            "baseline lies beside the records; tools/run_recipe.py leaves them."
        )
    )
    task_part = (
        f'{legend(roles)}<div class="charts">{"".join(task)}</div>'
        if task
        else missing(
            "No loss curves: no training logs lie beside the records; tools/train.py writes them."
        )
    )
    return section(
        "Loss of each pair", pair_part, "Distilled runs, over iterations; a thin line is one seed."
    ) + section("Losses of the students' own task", task_part)


def _bars(summary: Summary) -> str:
    groups = {
        group.role: values
        for group in summary.groups.values()
        if group.role in MAIN_ROLES and group.is_main and (values := group.class_ap())
    }
    if not groups:
        return missing("No record has values per class; tools/test.py CONFIG CHECKPOINT does.")
    classes = list(dict.fromkeys(name for values in groups.values() for name in values))
    shown, note = classes, ""
    if len(classes) > MAX_CLASSES:
        shown = sorted(classes, key=lambda name: -_spread(groups, name))[:MAX_CLASSES]
        note = (
            f'<p class="soft">The {MAX_CLASSES} of {len(classes)} classes in which the roles '
            "differ most.</p>"
        )
    chart = bar_plot(shown, groups, "AP")
    return f'{legend(groups)}{note}<div class="scroll">{chart}</div>'


def _spread(groups: Mapping[str, Mapping[str, float]], name: str) -> float:
    values = [values[name] for values in groups.values() if name in values]
    return max(values) - min(values)


def _nuscenes(summary: Summary) -> list[str]:
    """What only nuScenes' detection score has."""
    swatches = legend(group.role for group in main_groups(summary))
    world = " Synthetic world." if summary.is_synthetic else ""
    pictures, reason = bev_pictures(summary)
    seen = (
        f"The middle frames of {MAX_FRAMES} equal parts of the test split, first seed, scores "
        f"from {BEV_SCORE}, only what counts for the score. Grey: LiDAR points, a ring every "
        "20 m, ahead is up. Filled: an object, bright where it was missed. Solid: a box within "
        "2 m of an object of its class; dashed: one that is not. Hover over a box for its class."
    )
    return [
        section("Seen from above", missing(reason) if reason else "".join(pictures), seen + world),
        section(
            "Parts of NDS",
            swatches + parts_chart(summary) + parts_table(summary),
            "NDS = (5 mAP + the sum of 1 - error, at least 0, over five errors) / 10; mean over "
            f"seeds, higher bars are better.{world}",
        ),
        section("Precision over recall", swatches + precision_recall(summary), f"At 2 m.{world}"),
        section(
            "Classes and distances",
            class_table(summary),
            "AP in percent by the distance at which a centre matches, its mean over the four, and "
            f"errors in the units above; mean over seeds.{world}",
        ),
    ]


def _pictures(summary: Summary) -> str:
    pictures, reason = sample_pictures(summary)
    if reason:
        return section("Images", missing(reason))
    legend = (
        f"Images spread evenly over the test split, first seed, scores from {MIN_SCORE}. Solid: "
        f"matches an object (IoU {MIN_IOU}, same class); dashed: matches none; dotted: an object "
        "that was missed. Hover over a box for its class."
    )
    return section("Images", "".join(pictures), legend)
