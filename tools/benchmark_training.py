"""Measures what distillation adds to a training step: time and peak memory.

python tools/benchmark_training.py                      # RetinaNet R101 to R18, 2 x 256 x 256
python tools/benchmark_training.py configs/det2d/gfl-r18_from_r101_channel-wise-response_coco.py
OMP_NUM_THREADS=1 python tools/benchmark_training.py --rounds 40 --force

Three kinds of step run in turn: the student alone; the floor, which adds a teacher's forward to
the last tap; and kd3d. Images are noise and weights are random, so nothing is downloaded. A ratio
is the median over rounds (quartiles in parentheses). Peak: weights, optimizer and one step's
tensors. Written to OUT/record-training-cost.json.
"""

import argparse
from functools import partial
from pathlib import Path

import torch

import kd3d.distill  # noqa: F401  (registers the hook)
from kd3d.building import building
from kd3d.command_line import count
from kd3d.configs import load_config
from kd3d.errors import UserError, user_errors
from kd3d.evaluation.accuracy import config_hash
from kd3d.files import free_path
from kd3d.profiling.costs.training_arms import with_comparison
from kd3d.profiling.costs.training_cost import TrainingCost, measure_training_cost, show_rounds
from kd3d.profiling.environment import environment
from kd3d.report.record import Record

RECORD = "record-training-cost.json"
CONFIG = "configs/det2d/retinanet-r18_from_r101_feature-attention_coco.py"


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", default=CONFIG, help="a config with a DistillHook")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/bench"))
    parser.add_argument("--rounds", type=int, default=20, help="measured, at least 2")
    parser.add_argument("--batch", type=count, default=2, help="images a step")
    parser.add_argument("--size", type=count, default=256, help="height and width in pixels")
    parser.add_argument("--force", action="store_true", help="replace an earlier record")
    return parser.parse_args()


def main() -> None:
    """Measures, prints one table, writes one record."""
    args = parse_args()
    path = args.out / RECORD
    with user_errors(), building(args.config):
        free_path(path, force=args.force)
        if args.rounds < 2:
            raise UserError(f"--rounds {args.rounds}: quartiles need 2 or more")
        config = load_config(args.config)
        cost = with_comparison(
            config,
            partial(measure_training_cost, rounds=args.rounds, progress=show_rounds),
            batch=args.batch,
            size_px=args.size,
        )
        record = Record(
            kind="training",
            role="distilled",
            name=f"cost of {Path(args.config).stem}",
            metrics=cost.metrics(),
            config=args.config,
            config_hash=config_hash(config),
            environment=environment(),
            conditions={
                "input": f"{args.batch}x3x{args.size}x{args.size}",
                "data": "synthetic",
                "weights": "random",
                "device": "cuda" if torch.cuda.is_available() else "cpu",
                "threads": torch.get_num_threads(),
                "order": "interleaved",
            },
        )
        record.write(path)
    print(table(cost))
    print(f"wrote {path}")


def table(cost: TrainingCost) -> str:
    """The arms with their ratios, then the parts of kd3d's step."""
    titles = f"{'time / student':>21}{'time / floor':>21}{'CPU time / floor':>21}"
    lines = [f"{'':24}{'time s':>8}{'CPU s':>8}{titles}{'peak MiB':>10}"]
    for name in cost.seconds:
        line = f"{name:24}{cost.time(name).median:8.3f}{cost.cpu_time(name).median:8.3f}"
        if name in cost.peak_mb:
            ratios = (
                cost.time_ratio(name, "student"),
                cost.time_ratio(name, "floor"),
                cost.cpu_time_ratio(name, "floor"),
            )
            for ratio in ratios:
                line += f"{f'{ratio.median:.3f} ({ratio.p25:.3f}-{ratio.p75:.3f})':>21}"
            line += f"{cost.peak_mb[name]:10.0f}"
        lines.append(line)
    lines.append(f"peak memory of kd3d: {cost.peak_ratio('kd3d', 'floor'):.3f} times the floor")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
