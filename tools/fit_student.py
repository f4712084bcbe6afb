"""Finds the largest student of a config's family that a vehicle's budget allows, and writes it.

python tools/fit_student.py configs/det2d/CONFIG.py --device orin-agx-64gb --budget-ms 23
python tools/fit_student.py CONFIG --device orin-nx-16gb:25w --budget-ms 23 --params-m 18
python tools/fit_student.py CONFIG --device orin-agx-64gb --budget-ms 8 --fix input=1 width=64

Searched are input size (pillar size for LiDAR), width, depth, neck and head. Latency is predicted
for the exported network, without making voxels and without NMS. --precision int8 takes every layer
that can be as INT8, the rest as fp16 (fp32 for --protocol python); tools/export.py leaves fragile
layers in fp32, so ask tools/predict_latency.py again about its file. Within the budget is, by
default, the median of a prediction: measured, about every second winner misses the budget.
--budget-by high takes the upper end of the prediction's 80 % interval, which about one in ten
exceeds. Largest: most multiply-adds, a rough proxy for accuracy. DIR gets student.py (its base and
what changes; train it with tools/train.py), pareto.png and pareto.svg, candidates.json and
study.db. The same command goes on after an interrupt. The pairs of student and teacher are checked
before the tool ends.
"""

import argparse
from pathlib import Path

from kd3d.building import building
from kd3d.command_line import count, positive
from kd3d.errors import user_errors
from kd3d.profiling.devices import device_names
from kd3d.profiling.prediction.layer_work import PRECISIONS
from kd3d.profiling.roofline import PROTOCOLS
from kd3d.recipes.student_fit import FitSettings, fit_student
from kd3d.recipes.student_search import BUDGET_BY, Budget


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    boards = f"NAME or NAME:MODE, of {', '.join(device_names())}"
    parser.add_argument("config", help="a distillation config, or a student's")
    parser.add_argument("--device", required=True, help=boards)
    parser.add_argument("--budget-ms", required=True, type=positive, help="predicted, at most")
    parser.add_argument(
        "--budget-by",
        default="median",
        choices=BUDGET_BY,
        help="what of the prediction the budget holds: its median, or the interval's end "
        "[%(default)s]",
    )
    parser.add_argument("--params-m", type=positive, help="million parameters at most")
    parser.add_argument("--precision", default="int8", choices=PRECISIONS, help="[%(default)s]")
    parser.add_argument("--protocol", default="engine", choices=PROTOCOLS, help="[%(default)s]")
    parser.add_argument("--trials", type=count, default=60, help="students tried [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the search [%(default)s]")
    parser.add_argument("--fix", nargs="+", type=knob, default=[], metavar="KNOB=VALUE")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: below work_dirs")
    parser.add_argument("--force", action="store_true", help="replace an earlier student.py")
    args = parser.parse_args()
    if args.seed < 0:
        parser.error(f"--seed {args.seed}: expected 0 or more")
    return args


def knob(text: str) -> tuple[str, float]:
    """``name=value``."""
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected KNOB=NUMBER, got {text}") from None


def main() -> None:
    """Searches, writes, checks, and prints the path."""
    args = parse_args()
    settings = FitSettings(
        device=args.device,
        budget=Budget(latency_ms=args.budget_ms, parameters_m=args.params_m, by=args.budget_by),
        precision=args.precision,
        protocol=args.protocol,
        trials=args.trials,
        seed=args.seed,
        fixed=dict(args.fix),
    )
    board = args.device.replace(":", "-")
    name = f"{Path(args.config.rpartition('::')[2]).stem}-{board}-{args.budget_ms:g}ms"
    name += "" if args.budget_by == "median" else f"-{args.budget_by}"
    folder = args.out or Path("work_dirs") / "fit_student" / name
    with user_errors(), building(args.config):
        path = fit_student(
            args.config,
            settings,
            folder,
            force=args.force,
            say=lambda text: print(text, flush=True),
        )
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
