"""The result in one sentence, and what limits it."""

from statistics import mean

from kd3d.report.summary import STUDENTS, WALL_CLOCK, Group, Summary, split_of
from kd3d.report.table import gap_text, statistic_text

ENOUGH_SEEDS = 3


def headline(summary: Summary) -> str:
    """One sentence: what distillation changed beside its twins, or why that is not said."""
    if summary.refusal:
        return summary.refusal[0].upper() + summary.refusal[1:] + "."
    baseline, control = summary.groups["baseline"], summary.groups["control"]
    distilled, metric = summary.groups["distilled"], summary.metric
    change = _mean(distilled, metric) - _mean(baseline, metric)
    over_control = _mean(distilled, metric) - _mean(control, metric)
    seeds = len(distilled.runs)
    verb = "reached" if change > 0 else "was not helped: it reached"
    world = "In a synthetic world, over" if summary.is_synthetic else "Over"
    return (
        f"{world} {seeds} seed{'s' if seeds != 1 else ''}, the distilled student {verb} "
        f"{metric} {statistic_text(distilled.statistic(metric))}, "
        f"against {statistic_text(baseline.statistic(metric))} for the baseline ({change:+.1f}) "
        f"and {statistic_text(control.statistic(metric))} for the control ({over_control:+.1f}). "
        f"Gap to the teacher closed: {gap_text(summary.gaps['baseline'])} vs baseline, "
        f"{gap_text(summary.gaps['control'])} vs control."
    )


def caveats(summary: Summary) -> list[str]:
    """What limits the result: the world, seeds, schedule, split, classes of a weak teacher."""
    said = [_world_sentence(summary), _seed_sentence(summary), _schedule_sentence(summary)]
    said += [_labels_sentence(summary), _wall_clock_sentence(summary), _cache_sentence(summary)]
    said += [_split_sentence(summary), _overtaken_sentence(summary), _teacher_sentence(summary)]
    return [sentence for sentence in said if sentence]


def _world_sentence(summary: Summary) -> str:
    if not summary.is_synthetic:
        return ""
    return (
        "Every figure here comes from a synthetic world, made on the spot: it compares these "
        "models with each other, and says nothing about real roads."
    )


def _seed_sentence(summary: Summary) -> str:
    if summary.refusal:
        return ""
    distilled = summary.groups["distilled"]
    parts = []
    for key in summary.gaps:
        reference = summary.groups[key]
        pairs = _paired(distilled, reference, summary.metric)
        above = sum(ours > theirs for ours, theirs in pairs)
        parts.append(f"the {reference.label} in {above} of {len(pairs)}")
    few = ""
    seeds = len(distilled.values(summary.metric))
    if seeds < ENOUGH_SEEDS:
        few = f" {seeds} seed{'s' if seeds != 1 else ''}: too few to know the spread."
    uneven = {tuple(summary.groups[key].runs) for key in ("distilled", *summary.gaps)}
    if len(uneven) > 1:
        few += " Not every seed has all its twins: means and gaps cover different seeds."
    return f"Seed by seed, the distilled student is above {', '.join(parts)}.{few}"


def _schedule_sentence(summary: Summary) -> str:
    students = [
        run
        for group in summary.groups.values()
        if group.role in STUDENTS and group.is_main
        for run in group.runs.values()
    ]
    lengths = {
        f"{run.conditions[unit]} {unit.removeprefix('max_').replace('iters', 'iterations')}"
        for run in students
        for unit in ("max_epochs", "max_iters")
        if unit in run.conditions
    }
    starts = sorted({str(run.conditions.get("started_from", "")) for run in students} - {""})
    if starts and lengths:
        return (
            f"The students went on for {' or '.join(sorted(lengths))} from weights of an earlier "
            f"training: {', '.join(starts)}."
        )
    if not lengths and summary.refusal:
        return ""
    if not lengths:
        return "The records do not tell the length of the training schedule."
    if len(lengths) > 1:
        return f"The students were trained for different lengths: {', '.join(sorted(lengths))}."
    return (
        f"All students were trained for {lengths.pop()}; part of a gain can be faster "
        "convergence, which a longer schedule would take back."
    )


def _labels_sentence(summary: Summary) -> str:
    """Who learned from which labels, where the training records tell of frames without them."""
    counts = {
        key: {
            (int(run.conditions["labelled_frames"]), int(run.conditions["unlabelled_frames"]))
            for run in group.training.values()
            if "labelled_frames" in run.conditions and "unlabelled_frames" in run.conditions
        }
        for key, group in summary.groups.items()
        if group.is_main
    }
    if not any(without for found in counts.values() for _, without in found):
        return ""
    each = [
        f"{key} {' or '.join(_frames_text(*pair) for pair in sorted(found))}"
        for key, found in counts.items()
        if found
    ]
    return f"Training frames: {'; '.join(each)}."


def _frames_text(labelled: int, unlabelled: int) -> str:
    return f"{labelled} labelled" + (f" and {unlabelled} unlabelled" if unlabelled else "")


def _wall_clock_sentence(summary: Summary) -> str:
    if summary.refusal or summary.groups.get(f"baseline{WALL_CLOCK}"):
        return ""
    step_s = {
        key: [
            record.metrics["seconds_per_iter"]
            for record in summary.groups[key].training.values()
            if "seconds_per_iter" in record.metrics
        ]
        for key in ("baseline", "distilled")
    }
    longer = ""
    if all(step_s.values()):
        ratio = mean(step_s["distilled"]) / mean(step_s["baseline"])
        longer = f"; a distilled iteration took {ratio:.2f} times one of the baseline"
    return f"Twins have equal iterations, not equal wall clock{longer}."


def _cache_sentence(summary: Summary) -> str:
    """What the schedule of a distilled run leaves out: filling the cache of its teacher."""
    distilled = summary.groups.get("distilled")
    filled_s = [
        float(record.conditions["cache_fill_seconds"])
        for record in (distilled.training.values() if distilled else [])
        if "cache_fill_seconds" in record.conditions
    ]
    if not filled_s:
        return ""
    return (
        f"The teacher's cache was filled in {mean(filled_s):.0f} s (mean over seeds, once for all "
        "iterations); no iteration's time counts it."
    )


def _split_sentence(summary: Summary) -> str:
    runs = [run for group in summary.groups.values() for run in group.runs.values()]
    splits = {split_of(run) for run in runs}
    for unit in ("images", "frames"):
        counts = {run.conditions[unit] for run in runs if unit in run.conditions}
        if counts:
            shown = ", ".join(str(count) for count in sorted(counts, key=str))
            return f"Evaluated on {shown} {unit} of {', '.join(sorted(splits))}."
    return ""


def _overtaken_sentence(summary: Summary) -> str:
    """What to do about a teacher that its student needs no help to reach."""
    teacher = summary.groups.get("teacher")
    twins = (summary.groups.get(key) for key in ("baseline", "control"))
    if teacher is None or not any(
        twin and _mean(twin, summary.metric) >= _mean(teacher, summary.metric) for twin in twins
    ):
        return ""
    return (
        "Students reach this teacher without it, so it can only hold them back in the end: train "
        "it for as long as they are, or let the pairs stop early (weight=dict(..., stop=0.5))."
    )


def _teacher_sentence(summary: Summary) -> str:
    teacher, baseline = summary.groups.get("teacher"), summary.groups.get("baseline")
    if teacher is None or baseline is None:
        return ""
    ours = baseline.class_ap()
    weak = [name for name, ap in teacher.class_ap().items() if name in ours and ap <= ours[name]]
    if not weak:
        return ""
    shown = ", ".join(weak[:6]) + (", ..." if len(weak) > 6 else ".")
    return f"The teacher is not better than the baseline in {len(weak)} class(es): {shown}"


def _mean(group: Group, metric: str) -> float:
    return mean(group.values(metric).values())


def _paired(group: Group, reference: Group, metric: str) -> list[tuple[float, float]]:
    ours, theirs = group.values(metric), reference.values(metric)
    return [(ours[seed], theirs[seed]) for seed in ours.keys() & theirs.keys()]
