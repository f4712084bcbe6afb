"""Measures a training step with a cached teacher against one with a live teacher, in one run.

python tools/benchmark_teacher_cache.py                 # CenterPoint on the synthetic world
python tools/benchmark_teacher_cache.py CONFIG --rounds 40 --force

The student alone, the live teacher and the cached one take turns on the same batches. A speedup is
the median over rounds (quartiles in parentheses). Steps are timed without loading frames. Written
to OUT/record-teacher-cache.json. Without CONFIG, the teacher is the one that
configs/recipes/synthetic_near.py trains.
"""

import argparse
from pathlib import Path

import torch

import kd3d.distill  # noqa: F401  (registers the hook)
from kd3d.building import building
from kd3d.checkpoints import use_safe_loading
from kd3d.configs import Options, load_config, require_entries
from kd3d.errors import UserError, user_errors
from kd3d.evaluation.accuracy import config_hash
from kd3d.files import free_path
from kd3d.profiling.costs.cached_training import (
    ARMS,
    CachedTraining,
    measure_cached_training,
    replayed,
)
from kd3d.profiling.costs.training_cost import Spread, show_rounds
from kd3d.profiling.environment import environment
from kd3d.report.record import Record

RECORD = "record-teacher-cache.json"
CONFIG = "configs/det3d/centerpoint-pillar04-thin_from_pillar04_bev-response_synthetic-near.py"


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", default=CONFIG, help="a config with one DistillHook")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/bench"))
    parser.add_argument("--rounds", type=int, default=20, help="measured, at least 2")
    parser.add_argument("--force", action="store_true", help="replace an earlier record")
    parser.add_argument("--cfg-options", nargs="+", action=Options, help="key=value overrides")
    return parser.parse_args()


def main() -> None:
    """Measures, prints one table, writes one record."""
    args = parse_args()
    path = args.out / RECORD
    with user_errors(), building(args.config):
        free_path(path, force=args.force)
        if args.rounds < 2:
            raise UserError(f"--rounds {args.rounds}: quartiles need 2 or more")
        use_safe_loading()
        config = load_config(args.config, args.cfg_options)
        require_entries(config, ["model", "train_dataloader", "optim_wrapper"], args.config)
        cost = measure_cached_training(replayed(config), rounds=args.rounds, progress=show_rounds)
        record = Record(
            kind="training",
            role="distilled",
            name=f"teacher cache of {Path(args.config).stem}",
            metrics=metrics(cost),
            config=args.config,
            config_hash=config_hash(config),
            environment=environment(),
            conditions={
                "batch": cost.batch,
                "device": "cuda" if torch.cuda.is_available() else "cpu",
                "threads": torch.get_num_threads(),
                "order": "interleaved",
            },
        )
        record.write(path)
    print(table(cost))
    print(f"wrote {path}")


def metrics(cost: CachedTraining) -> dict[str, float]:
    """The numbers of the record."""
    speedup = cost.speedup()
    found = {f"frames_per_s/{arm}": cost.throughput(arm) for arm in ARMS}
    found |= {f"seconds/{arm}": Spread.of(cost.seconds[arm]).median for arm in ARMS}
    found |= {"speedup": speedup.median, "speedup/p25": speedup.p25, "speedup/p75": speedup.p75}
    found["cpu_speedup"] = cost.speedup(cpu=True).median
    found["largest_loss_difference"] = cost.largest_difference
    found["entry_mb"] = cost.entry_mb
    return found


def table(cost: CachedTraining) -> str:
    """The arms, then what the cache gains."""
    lines = [f"{'':10}{'step s':>10}{'CPU s':>10}{'frames/s':>10}"]
    for arm in ARMS:
        wall, cpu = Spread.of(cost.seconds[arm]).median, Spread.of(cost.cpu_seconds[arm]).median
        lines.append(f"{arm:10}{wall:10.3f}{cpu:10.3f}{cost.throughput(arm):10.2f}")
    for kind, spread in (("time", cost.speedup()), ("CPU time", cost.speedup(cpu=True))):
        lines.append(
            f"cached over live, {kind}: {spread.median:.2f} times "
            f"({spread.p25:.2f} to {spread.p75:.2f})"
        )
    lines.append(
        f"largest difference of a loss: {100 * cost.largest_difference:.3f} %; "
        f"{cost.entry_mb:.2f} MB a frame on disk"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
