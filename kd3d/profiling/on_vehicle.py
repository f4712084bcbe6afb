"""Measures a device bundle on the vehicle, with NumPy and TensorRT (or ONNX Runtime) alone.

python3 -m kd3d.profiling.on_vehicle BUNDLE --backend tensorrt --precision fp16 --out result.json

tools/benchmark.py --host runs it over SSH and makes records of the result. Python 3.8.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Sequence  # noqa: UP035  (the vehicle runs Python 3.8)

from kd3d.backends.bundle import PRECISIONS, Bundle
from kd3d.backends.open_bundle import BUNDLE_BACKENDS, open_bundle
from kd3d.errors import user_errors
from kd3d.files import writable_path, write_json, write_text
from kd3d.profiling.backend_latency import Measured, Options, measure_backends
from kd3d.profiling.bundle_latency import (
    arm_from_bundle,
    check_batch,
    check_options,
    measure_voxelization,
)
from kd3d.profiling.latency import LEAST_ITERATIONS, Progress

_PROGRESS_PAUSE_S = 1.0  # between two writes of the progress file


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="BUNDLE", help="written by tools/export.py")
    parser.add_argument("--backend", nargs="+", required=True, choices=BUNDLE_BACKENDS)
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=PRECISIONS)
    parser.add_argument("--iterations", type=int, default=LEAST_ITERATIONS)
    parser.add_argument("--threads", type=int, help="of ONNX Runtime; default: its choice")
    parser.add_argument("--batch", type=int, help="default: the bundle's, or 1")
    parser.add_argument("--cuda-graph", action="store_true")
    parser.add_argument("--layers", action="store_true", help="time of each layer")
    parser.add_argument("--energy-s", type=float, default=5.0, help="0: no energy")
    parser.add_argument(
        "--engines", type=Path, help="keeps engines; default: ~/.cache/kd3d/engines"
    )
    parser.add_argument("--out", type=Path, required=True, help="the result, as JSON")
    parser.add_argument("--progress", type=Path, help="file that holds 'runs all'")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures every backend at every precision, in turns, and writes one result file."""
    args = parse_args(arguments)
    with user_errors():
        writable_path(args.out, "choose another --out")
        measured = measure_on_vehicle(args)
        write_json(args.out, {"results": [asdict(one) for one in measured]})
    for one in measured:
        said, times = one.conditions, one.metrics
        print(f"{said['backend']} {said['precision']}: p50 {times['p50_ms']:.2f} ms, ", end="")
        print(f"p99 {times['p99_ms']:.2f} ms on {one.environment['machine']}")
    print(f"wrote {args.out}")


def measure_on_vehicle(args: argparse.Namespace) -> list[Measured]:
    """The measurement of the command line ``args``."""
    options = Options(
        *(args.iterations, args.cuda_graph, args.layers, args.threads, args.batch, args.energy_s)
    )
    check_options(options)
    bundle = Bundle.read(args.folder)
    arms = []
    for name in args.backend:
        check_batch(bundle, name, args.batch)
    for name in args.backend:
        for precision in args.precision:
            backend = open_bundle(
                bundle,
                name,
                engines=args.engines,
                precision=precision,
                threads=args.threads,
                exact=False,
                cuda_graph=args.cuda_graph,
            )
            arms.append(arm_from_bundle(bundle, backend, precision, options))
    progress = None if args.progress is None else _progress_file(args.progress)
    measured = measure_backends(arms, options, progress=progress)
    host = measure_voxelization(bundle)
    for one in measured:
        one.metrics.update(host)
    return measured


def _progress_file(path: Path) -> Progress:
    """Writes how far it is, seldom enough not to disturb."""
    written_s = 0.0

    def show(done: int, total: int) -> None:
        nonlocal written_s
        if time.monotonic() - written_s >= _PROGRESS_PAUSE_S or done == total:
            written_s = time.monotonic()
            write_text(path, f"{done} {total}")

    return show


if __name__ == "__main__":
    main()
