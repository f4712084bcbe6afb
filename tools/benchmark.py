"""Measures the latency of exports: warm-up until steady, then at least 200 runs of each.

python tools/benchmark.py work_dirs/export/student --backend onnxruntime
python tools/benchmark.py teacher student --backend onnxruntime pytorch --precision fp32 int8
python tools/benchmark.py out --backend tensorrt --precision fp16 --host user@orin --budget-ms 25

Steady: the median of the last 10 runs is within 5 % of that of the 10 runs before (200 at most).
Timed: arrays in, copies, network and box decoding, arrays out; no preprocessing, no NMS; the input
is the export's sample. Beside it stand TensorRT's device times, energy where the board measures
power, and a pillar detector's voxelisation. Several folders, backends and precisions are measured
in turns, so that their ratios hold on a busy machine. Records, which tools/compare_latency.py
compares, go to DIR/record-latency-BACKEND[-PRECISION][-threadsN][-batchN][-graph][-on-HOST].json.

--host measures on a vehicle over OpenSSH: with a key or the agent, never a password; its host key
must be known. Only what is not there yet is copied. The run goes on when the connection is lost
and is found again; Ctrl-C stops it. A folder's records are written once it is measured. There stays
nothing but the cache ~/.cache/kd3d (files by their hash, engines): ssh HOST rm -rf .cache/kd3d

--budget-ms: exit code 1 if one takes longer, for a fleet's CI, or was measured throttled or not
steady; by p99, for a frame that is late once in a hundred is late.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kd3d.backends.bundle import PRECISIONS
from kd3d.backends.host_arguments import add_host_arguments, host_from_args
from kd3d.backends.ssh import Host
from kd3d.command_line import positive
from kd3d.errors import user_errors
from kd3d.export.benchmark import Job, benchmark_exports, benchmark_on_host, check_records, jobs_of
from kd3d.export.latency_text import BUDGET_METRICS, budget_misses, latency_text
from kd3d.export.open_backend import BACKENDS
from kd3d.profiling.backend_latency import Options
from kd3d.report.record import Record


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folders", nargs="+", type=Path, metavar="DIR", help="written by tools/export.py")
    add("--backend", nargs="+", required=True, choices=BACKENDS)
    add("--precision", nargs="+", default=["fp32"], choices=PRECISIONS, help="default: fp32")
    add("--iterations", type=int, default=200, help="measured runs of each, at least 200")
    add("--threads", type=int, help="default: the backend's choice")
    add("--batch", type=int, help="default: the export's, or 1")
    add("--cuda-graph", action="store_true", help="the network as one CUDA graph (TensorRT)")
    add("--layers", action="store_true", help="time of each layer, in layers-*.json (TensorRT)")
    add("--budget-ms", type=positive, help="exit code 1 if one does not keep it")
    add("--budget-by", default="p99", choices=BUDGET_METRICS, help="default: p99")
    add("--force", action="store_true", help="replace earlier records")
    add_host_arguments(parser)
    return parser.parse_args()


def main() -> None:
    """Measures, writes one record a combination, prints one table."""
    args = parse_args()
    jobs, records = list[Job](), list[Record]()
    try:
        with user_errors(), bar() as progress:
            host = host_from_args(args)
            place = host.name if host else ""
            settings = {"threads": args.threads, "batch": args.batch, "graph": args.cuda_graph}
            jobs = jobs_of(args.folders, args.backend, args.precision, place, settings)
            check_records(jobs, force=args.force)
            for record in measured(args, jobs, host, progress):
                record.write(jobs[len(records)].record_file)
                records.append(record)
    finally:  # a folder after them may have failed
        if whole := jobs[: len(records)]:
            print(latency_text(whole, records))
            print("\n".join(f"wrote {job.record_file}" for job in whole))
    if args.budget_ms is not None:
        misses = budget_misses(jobs, records, args.budget_ms, args.budget_by)
        if misses:
            raise SystemExit("\n".join(misses))


def measured(
    args: argparse.Namespace, jobs: list[Job], host: Host | None, progress: Progress
) -> Iterable[Record]:
    """One record for each job; from a vehicle each folder's as soon as it is measured."""
    options = Options(args.iterations, args.cuda_graph, args.layers, args.threads, args.batch)
    told = shown(progress, "measure")
    if host is None:
        return benchmark_exports(jobs, options, progress=told)
    say, sent = partial(print, file=sys.stderr), shown(progress, "copy, bytes")
    return benchmark_on_host(jobs, host, options, progress=told, say=say, sent=sent)


def bar() -> Progress:
    """A progress bar without a thread of its own, which would disturb the measurement."""
    console, text = Console(stderr=True), TextColumn("{task.description}")
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, auto_refresh=False, disable=not sys.stderr.isatty())


def shown(progress: Progress, description: str) -> Callable[[int, int], None]:
    """Tells the bar how far it is; its line appears with the first call."""

    def show(done: int, total: int) -> None:
        found = [task.id for task in progress.tasks if task.description == description]
        task = found[0] if found else progress.add_task(description)
        progress.update(task, completed=done, total=total, refresh=True)

    return show


if __name__ == "__main__":
    main()
