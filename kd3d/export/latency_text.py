"""Latency records as text for a terminal, and whether they keep a budget."""

from collections.abc import Mapping, Sequence

from kd3d.export.benchmark import Job
from kd3d.profiling.comparison import doubts
from kd3d.report.record import Record

BUDGET_METRICS = {"p50": "p50_ms", "p90": "p90_ms", "p99": "p99_ms", "max": "max_ms"}
_COLUMNS = {
    "min": "min_ms",
    "p50": "p50_ms",
    "p90": "p90_ms",
    "p99": "p99_ms",
    "max": "max_ms",
    "jitter": "jitter_ms",
    "frames/s": "throughput_fps",
}
_WIDTH = 10


def latency_text(jobs: Sequence[Job], records: Sequence[Record]) -> str:
    """One row of milliseconds a job, with its p50 over that of the first; then on what.

    Args:
        jobs: what was measured.
        records: one for each, of one machine.
    """
    names = [str(job) for job in jobs]
    width = max(map(len, names))
    head = "".join(f"{name:>{_WIDTH}}" for name in (*_COLUMNS, "of first"))
    lines = [f"{'ms':<{width}}{head}"]
    for name, record in zip(names, records, strict=True):
        share = record.metrics["p50_ms"] / records[0].metrics["p50_ms"]
        values = [record.metrics[metric] for metric in _COLUMNS.values()]
        lines.append(f"{name:<{width}}" + "".join(f"{v:{_WIDTH}.2f}" for v in (*values, share)))
    for name, record in zip(names, records, strict=True):
        lines += [f"{name}: {note}" for note in _notes(record)]
    return "\n".join([*lines, _machine(records[0])])


def budget_misses(
    jobs: Sequence[Job], records: Sequence[Record], budget_ms: float, by: str
) -> list[str]:
    """One sentence for each job that does not keep the budget; ``by``: of ``BUDGET_METRICS``.

    A budget that is no number is kept by none, and none is kept by a run that is flagged: what it
    measured with clocks held down, or before its times had settled, another run need not repeat.
    """
    misses = []
    for job, record in zip(jobs, records, strict=True):
        time_ms = record.metrics[BUDGET_METRICS[by]]
        found = f"{job}: {by} {time_ms:.2f} ms is"
        if not time_ms <= budget_ms:
            misses.append(f"{found} over the budget of {budget_ms:g} ms")
        elif flags := doubts(record):
            misses.append(
                f"{found} within the budget of {budget_ms:g} ms, but does not count: the run was "
                f"{' and '.join(flags)}; measure again when the board is cool and idle"
            )
    return misses


def _notes(record: Record) -> list[str]:
    """What a reader of the row has to know."""
    found, said = record.metrics, record.conditions
    steady = "steady" if said["steady"] else "NOT steady"
    notes = [
        f"on {said['device']}, input {said['input']}, batch {said['batch']}, threads "
        f"{said['threads']}, {steady} after {said['warmup_runs']} runs, "
        f"{found['iterations']:.0f} measured"
        + (" in turns" if said["turns"] != 1 else "")
        + (", as a CUDA graph" if said.get("cuda_graph") else "")
    ]
    if "device_p50_ms" in found:
        notes.append(
            f"device p50 {found['device_p50_ms']:.2f} ms, p99 {found['device_p99_ms']:.2f} ms; "
            f"copies p50 {found['h2d_p50_ms']:.2f} ms there and {found['d2h_p50_ms']:.2f} ms back; "
            f"host without copies p50 {found['no_copies_p50_ms']:.2f} ms"
        )
        notes += _bound_by_host(found)
    if "energy_j" in found:
        notes.append(
            f"{found['power_w']:.1f} W, {found['energy_j']:.3f} J a run ({said['power_source']})"
        )
    if "pillars" in said:
        notes.append(
            f"voxelization on the host: p50 {found['voxelization_p50_ms']:.2f} ms, p99 "
            f"{found['voxelization_p99_ms']:.2f} ms, {said['points']} points to "
            f"{said['pillars']} pillars"
        )
    notes += [line for line in doubts(record) if line not in notes[0]]
    return notes


def _bound_by_host(found: Mapping[str, float]) -> list[str]:
    """Whether the GPU waits for the host; nothing where a record has no time of it."""
    enqueue_ms, device_ms = found.get("enqueue_p50_ms"), found["device_p50_ms"]
    if enqueue_ms is None or enqueue_ms < device_ms:
        return []
    return [
        f"BOUND BY THE HOST: it takes {enqueue_ms:.2f} ms (p50) to hand the work over, the GPU no "
        "longer to do it; device times hold waiting (try --cuda-graph)"
    ]


def _machine(record: Record) -> str:
    where = record.environment
    entries = {
        "": where["cpu"] or where["machine"],
        "cores ": where["cores"],
        "GPU ": where["gpu"],
        "SMs ": where["gpu_sms"],
        "GPU MHz ": where["gpu_mhz"],
        "memory MHz ": where["emc_mhz"],
        "power mode ": where["power_mode"],
        "L4T ": where["l4t"],
        "temperatures ": where["temperature_after_c"],
        "others on the GPU: ": where["gpu_processes"],
    }
    return ", ".join(f"{name}{value}" for name, value in entries.items() if value)
