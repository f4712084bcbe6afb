"""Trains a detector; with a DistillHook in its config, from a teacher.

python tools/train.py configs/det2d/CONFIG.py --work-dir work_dirs/run --seed 0
torchrun --nproc_per_node 8 tools/train.py CONFIG --launcher pytorch
"""

import argparse
import os
from functools import partial

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

import kd3d.distill  # noqa: F401  (registers the hook)
from kd3d.building import building
from kd3d.checkpoints import save_whole, use_safe_loading
from kd3d.configs import Options, default_work_dir, load_config, require_entries
from kd3d.distill.preflight import check_custom_hooks, check_unlabelled
from kd3d.errors import UserError, user_errors
from kd3d.evaluation.training import write_training_record
from kd3d.evaluation.training_start import check_start, how_to_go_on
from kd3d.report.record import ROLES


def parse_args() -> argparse.Namespace:
    """Reads mmdet's own flags, and --seed, --role and --name for the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="training config")
    parser.add_argument("--work-dir", help="where logs and checkpoints go")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        help="go on from this checkpoint, or from the latest of the work dir",
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision (needs a GPU)")
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate by the batch size"
    )
    parser.add_argument("--seed", type=int, help="seed of all generators")
    parser.add_argument("--role", default="", choices=ROLES, help="for the record")
    parser.add_argument("--name", default="", help="of the run in its record")
    parser.add_argument("--cfg-options", nargs="+", action=Options, help="key=value overrides")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    return parser.parse_args()


def configured(args: argparse.Namespace) -> Config:
    """The config with the command line's settings in it."""
    config = load_config(args.config, args.cfg_options)
    require_entries(
        config, ["model", "train_dataloader", "train_cfg", "optim_wrapper"], args.config
    )
    check_custom_hooks(config)
    check_unlabelled(config)
    if args.launcher == "pytorch" and "RANK" not in os.environ:
        raise UserError("--launcher pytorch: start with torchrun --nproc_per_node N tools/train.py")
    config.launcher = args.launcher
    config.work_dir = default_work_dir(config, args.config, args.work_dir)
    if args.seed is not None:
        config.randomness = {**(config.get("randomness") or {}), "seed": args.seed}
    if args.amp:
        if get_device() == "cpu":
            raise UserError("--amp needs a GPU, this machine has none; leave it out")
        config.optim_wrapper.type = "AmpOptimWrapper"
        config.optim_wrapper.loss_scale = "dynamic"
    if args.auto_scale_lr:
        if "base_batch_size" not in (config.get("auto_scale_lr") or {}):
            raise UserError(
                f"config {args.config}: --auto-scale-lr needs "
                "auto_scale_lr=dict(base_batch_size=...) in the config"
            )
        config.auto_scale_lr.enable = True
    if args.resume:
        config.resume = True
        config.load_from = None if args.resume == "auto" else args.resume
    return config


def main() -> None:
    """Trains and prints where the result lies."""
    args = parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    with user_errors(), building(args.config):
        use_safe_loading()
        runner = Runner.from_cfg(configured(args))
    with user_errors(partial(how_to_go_on, runner.work_dir)), building(args.config):
        check_start(runner)
        save_whole(runner)
        runner.train()
        record = write_training_record(runner, runner.work_dir, role=args.role, name=args.name)
        if record is not None:
            print(f"checkpoints and record: {runner.work_dir}")


if __name__ == "__main__":
    main()
