"""Predicts the Orin latency of every student and teacher of some configs, as a Markdown table.

python tools/predict_configs.py configs/det2d configs/det3d configs/demo --out work_dirs/latency.md
python tools/predict_configs.py CONFIG --device orin-nx-16gb:25w --precision int8

Each detector is built without weights and traced as it would be exported: without making voxels
and without NMS, batch 1, images of the test pipeline's size, the pillars of one synthetic sweep.
The figures are the GPU's time ("engine" of tools/predict_latency.py) with the interval that the
predictor promises. Printed besides: why a detector cannot be exported, and what was assumed of one.
"""

import argparse
from pathlib import Path

from kd3d.errors import UserError, user_errors
from kd3d.files import free_path, write_text
from kd3d.profiling.prediction.layer_work import PRECISIONS
from kd3d.recipes.latency_table import detector_latencies, markdown


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="+", type=Path, help="config files, or folders of them")
    parser.add_argument("--device", nargs="+", default=["orin-agx-64gb"], metavar="NAME[:MODE]")
    parser.add_argument("--precision", nargs="+", default=["fp16", "int8"], choices=PRECISIONS)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table")
    parser.add_argument("--force", action="store_true", help="replace an earlier --out")
    return parser.parse_args()


def main() -> None:
    """Prints a line for each detector, then the table."""
    args = parse_args()
    boards = args.device if len(args.device) > 1 else [""]  # one board needs no name in each column
    heads = [f"{name} {precision}".strip() for name in boards for precision in args.precision]
    with user_errors():
        if args.out:
            free_path(args.out, force=args.force)
        rows = []
        for row in detector_latencies(config_files(args.configs), args.device, args.precision):
            times = [f"{p.total_ms:.2f}" for p in row.predictions]
            print(f"{row.names[0]}: {row.reason or ' '.join(times) + ' ms'}", flush=True)
            for warning in row.warnings:
                print(f"  warning: {warning}", flush=True)
            rows.append(row)
        table = markdown(rows, heads)
        print(table)
        if args.out:
            print(f"wrote {write_text(args.out, table)}")


def config_files(given: list[Path]) -> list[Path]:
    """The files, those of folders in order."""
    files = [f for path in given for f in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    if not files:
        raise UserError(f"{given[0]}: no config in it; expected files NAME.py")
    return files


if __name__ == "__main__":
    main()
