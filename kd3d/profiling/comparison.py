"""Two latency records side by side, if they may stand there.

They may where machine and protocol are the same, and where each can be relied upon: no run that
was throttled, or not steady before it was measured or while it was, even if both were. What is
compared (backend, precision, model) may differ; what changes from run to run (temperatures,
processes' order) does not count.
"""

from pathlib import Path

from kd3d.errors import UserError
from kd3d.profiling.latency import LEAST_ITERATIONS
from kd3d.report.record import Record

# Of the environment: states of a moment, and what does not run while it is measured.
STATES = ("temperature_before_c", "temperature_after_c", "memory_gb", "commit", "kd3d")
CLOCKS = ("gpu_mhz", "emc_mhz")  # measured; compared by their size
CLOCK_TOLERANCE = 0.02
# Of the conditions: how it was measured.
PROTOCOL = (
    *("protocol", "timed", "clock", "batch", "threads", "device", "cuda_graph", "turns"),
    *("points", "pillars", "sample", "host", "steady", "device_steady"),
)
LARGEST_DRIFT = 0.1  # from the first quarter of the measured runs to the last, as a share
SUBJECT = ("backend", "precision", "input")
_MS = "_ms"


def differences(first: Record, second: Record) -> list[str]:
    """One line for each entry of environment or protocol in which the records differ."""
    found = []
    for key in sorted({*first.environment, *second.environment} - {*STATES}):
        ours, theirs = first.environment.get(key, ""), second.environment.get(key, "")
        if ours != theirs and not (key in CLOCKS and _close(ours, theirs)):
            found.append(f"environment: {key}: {ours or 'unknown'} | {theirs or 'unknown'}")
    for key in PROTOCOL:
        ours, theirs = str(first.conditions.get(key, "")), str(second.conditions.get(key, ""))
        if ours != theirs:
            found.append(f"protocol: {key}: {ours or 'unknown'} | {theirs or 'unknown'}")
    counts = [record.metrics.get("iterations", 0.0) for record in (first, second)]
    if counts[0] != counts[1]:
        found.append(f"protocol: iterations: {counts[0]:.0f} | {counts[1]:.0f}")
    return found


def doubts(record: Record) -> list[str]:
    """Why another run need not repeat what this one measured; empty if it can be relied upon."""
    held = throttled(record)
    found = [f"THROTTLED ({held})"] if held else []
    said = record.conditions
    if not said.get("steady", True):
        found.append(f"NOT steady after {said['warmup_runs']} runs")
    if not said.get("device_steady", True):
        found.append("NOT steady on the device")
    for key, where in (("drift", ""), ("device_drift", " on the device")):
        drift = float(said.get(key, 0.0))
        if not abs(drift) <= LARGEST_DRIFT:
            found.append(f"NOT steady{where}: {drift:+.0%} from its first quarter to its last")
    return found


def throttled(record: Record) -> str:
    """What held the clocks down; empty where nothing did, or nothing there can tell."""
    found = record.environment.get("throttled", "")
    return "" if found == "no" else found


def comparison_text(first: Record, second: Record, *, force: bool = False) -> str:
    """Both records' times and their ratios, second over first; differences above them.

    Args:
        first: what is taken as 1.
        second: what is compared with it.
        force: compare although environment or protocol differ, or one is doubtful.

    Raises:
        UserError: if one of them is no latency, or they differ or are doubtful, and ``force`` is
            not set.
    """
    for record in (first, second):
        if record.kind != "latency" or record.metrics.get("iterations", 0) < LEAST_ITERATIONS:
            raise UserError(
                f"{record.name or 'a record'}: expected a latency of at least {LEAST_ITERATIONS} "
                f"iterations, got kind '{record.kind}'; tools/benchmark.py makes one"
            )
    labelled = (("first", first), ("second", second))
    against = [f"DIFFERS, {line}" for line in differences(first, second)]
    against += [
        f"DOUBTFUL, {label}: the run was {line}" for label, r in labelled for line in doubts(r)
    ]
    if against and not force:
        listed = "\n  ".join(against)
        raise UserError(
            f"the records cannot be compared:\n  {listed}\nMeasure both in one run, on a board "
            "that is cool and idle (tools/benchmark.py DIR DIR ...), or compare all the same with "
            "--force"
        )
    lines = [*against, *(f"{label}: {_subject(r)}" for label, r in labelled)]
    lines.append(f"{'ms':<24}{'first':>12}{'second':>12}{'ratio':>10}")
    for name, ours in first.metrics.items():
        theirs = second.metrics.get(name)
        if name.endswith(_MS) and theirs is not None:
            ratio = f"{theirs / ours:10.3f}" if ours else f"{'-':>10}"
            lines.append(f"{name.removesuffix(_MS):<24}{ours:12.3f}{theirs:12.3f}{ratio}")
    return "\n".join(lines)


def _subject(record: Record) -> str:
    said = [str(record.conditions[key]) for key in SUBJECT if key in record.conditions]
    return ", ".join(filter(None, [record.role, record.name, Path(record.config).name, *said]))


def _close(first: str, second: str) -> bool:
    """Whether two clocks differ by no more than a governor's step."""
    try:
        ours, theirs = float(first), float(second)
    except ValueError:
        return False
    return abs(ours - theirs) <= CLOCK_TOLERANCE * max(ours, theirs)
