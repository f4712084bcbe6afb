"""Measures the nuScenes evaluation against the devkit's: seconds, memory, growth, equality.

python tools/benchmark_nuscenes.py                      # nuScenes' val, 6019 samples: minutes
python tools/benchmark_nuscenes.py --devkit-samples 600 # the devkit on a tenth of it

Boxes are noise, half of the predictions near an object. Counted are matching and metrics (kd3d's
with its filters), not loading; each measurement runs in a new process, whose peak includes the
boxes. The devkit runs with 200 predictions a sample. Exit code 1 if a value differs by a bit.
Written to OUT/benchmark-nuscenes.json.
"""

import argparse
from pathlib import Path

from kd3d.command_line import count
from kd3d.errors import user_errors
from kd3d.files import free_path, write_json
from kd3d.profiling.costs.nuscenes_evaluation import (
    EvaluationCost,
    measure_devkit,
    measure_ours,
    unequal_values,
)
from kd3d.profiling.environment import environment

_PREDICTIONS = 200  # in each frame that the devkit evaluates


def parse_args() -> argparse.Namespace:
    """Reads the sizes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=count, default=6019, help="frames")
    parser.add_argument(
        "--predictions", type=count, nargs="+", default=[50, 100, 200, 400], help="in each frame"
    )
    parser.add_argument("--devkit-samples", type=count, help="frames for the devkit [all]")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/bench"))
    parser.add_argument("--force", action="store_true", help="replace an earlier file")
    return parser.parse_args()


def show(name: str, cost: EvaluationCost) -> None:
    """One line of the table."""
    per_box_us = 1e6 * cost.cpu_seconds / (cost.samples * cost.predictions)
    print(
        f"{name:8}{cost.samples:>8}{cost.predictions:>13}{cost.seconds:>10.2f}"
        f"{cost.cpu_seconds:>8.2f}{per_box_us:>12.2f}{cost.peak_mb:>10.0f}",
        flush=True,
    )


def compare(samples: int) -> tuple[EvaluationCost, list[str]]:
    """Both on the same boxes; the devkit's cost, and the names of unequal values."""
    ours, devkit = (measure(samples, _PREDICTIONS) for measure in (measure_ours, measure_devkit))
    show("kd3d", ours)
    show("devkit", devkit)
    unequal = unequal_values(ours, devkit)
    print(
        f"\n{devkit.seconds / ours.seconds:.0f} times faster than the devkit by the clock, "
        f"{devkit.cpu_seconds / ours.cpu_seconds:.0f} times in CPU time; "
        f"{len(ours.values) - len(unequal)} of {len(ours.values)} values equal to the last bit"
    )
    return devkit, unequal


def main() -> None:
    """Measures, prints a table, writes the figures."""
    args = parse_args()
    path = args.out / "benchmark-nuscenes.json"
    with user_errors():
        free_path(path, force=args.force)
        print(
            f"{'':8}{'samples':>8}{'predictions':>13}{'seconds':>10}{'CPU s':>8}"
            f"{'CPU us/box':>12}{'peak MB':>10}"
        )
        ours = []
        for predictions in args.predictions:
            ours.append(measure_ours(args.samples, predictions))
            show("kd3d", ours[-1])
        devkit, unequal = compare(args.devkit_samples or args.samples)
        content = {
            "kd3d": [cost.figures for cost in ours],
            "devkit": devkit.figures,
            "unequal": unequal,
            "environment": environment(),
        }
        print(f"figures: {write_json(path, content)}")
        if unequal:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
