"""Measures the latency of an export: warm-up until steady, then at least 200 runs.

python tools/benchmark.py work_dirs/export/student --backend onnxruntime
python tools/benchmark.py work_dirs/export/student --backend pytorch --threads 1 --iterations 500

Steady: the median of the last 10 runs is within 5 % of that of the 10 runs before (200 at most).
Timed: arrays in, network and box decoding, arrays out; no preprocessing, no NMS. Of a pillar
detector the input is the frame in sample.npz, and the host's voxelisation is timed by itself. The
result goes to DIR/record-latency-BACKEND.json.
"""

import argparse
import sys
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from kd3d.errors import UserError, user_errors
from kd3d.export.benchmark import benchmark_export, latency_file
from kd3d.export.open_backend import BACKENDS
from kd3d.report.record import Record


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="written by tools/export.py")
    parser.add_argument("--backend", required=True, choices=BACKENDS)
    parser.add_argument("--iterations", type=int, default=200, help="measured runs, at least 200")
    parser.add_argument("--threads", type=int, help="default: the backend's choice")
    parser.add_argument("--batch", type=int, help="default: the export's, or 1")
    parser.add_argument("--force", action="store_true", help="replace an earlier record")
    return parser.parse_args()


def main() -> None:
    """Measures, prints one table, writes one record."""
    args = parse_args()
    path = latency_file(args.folder, args.backend)
    with user_errors():
        if path.exists() and not args.force:
            raise UserError(f"{path} exists; measure again with --force")
        with bar() as progress:
            task = progress.add_task("measure", total=args.iterations)

            def show(done: int, _total: int) -> None:
                progress.update(task, completed=done, refresh=True)

            record = benchmark_export(
                args.folder,
                args.backend,
                iterations=args.iterations,
                threads=args.threads,
                batch=args.batch,
                progress=show if sys.stderr.isatty() else None,
            )
        record.write(path)
    print(table(record))
    print(f"wrote {path}")


def bar() -> Progress:
    """A progress bar without a thread of its own, which would disturb the measurement."""
    from rich.console import Console

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    terminal = sys.stderr.isatty()
    return Progress(
        *columns, console=Console(stderr=True), auto_refresh=False, disable=not terminal
    )


def table(record: Record) -> str:
    """Metrics in one row, their conditions below."""
    names = ("p50_ms", "p90_ms", "p99_ms", "mean_ms", "throughput_fps", "iterations")
    conditions = record.conditions
    steady = "steady" if conditions["steady"] else "NOT steady"
    return "\n".join(
        [
            "".join(f"{name:>16}" for name in names),
            "".join(f"{record.metrics[name]:16.2f}" for name in names),
            f"{conditions['backend']} on {conditions['device']}, input {conditions['input']}, "
            f"batch {conditions['batch']}, threads {conditions['threads']}, {steady} after "
            f"{conditions['warmup_runs']} runs",
            *host(record),
            f"{record.environment['cpu']}, {record.environment['cores']} cores",
        ]
    )


def host(record: Record) -> list[str]:
    """What the host does before the network, in one line; none for images."""
    found, conditions = record.metrics, record.conditions
    if "pillars" not in conditions:
        return []
    return [
        f"voxelization on the host: p50 {found['voxelization_p50_ms']:.2f} ms, p99 "
        f"{found['voxelization_p99_ms']:.2f} ms, {conditions['points']} points to "
        f"{conditions['pillars']} pillars"
    ]


if __name__ == "__main__":
    main()
