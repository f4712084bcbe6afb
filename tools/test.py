"""Evaluates a checkpoint, or an exported folder, on its config's test split.

python tools/test.py CONFIG work_dirs/run/iter_500.pth --work-dir work_dirs/run
python tools/test.py CONFIG work_dirs/run/export --backend onnxruntime --precision int8
"""

import argparse
import os

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

import kd3d.distill  # noqa: F401  (registers the hook)
from kd3d.backends.bundle import PRECISIONS, Bundle
from kd3d.building import building
from kd3d.checkpoints import load_checkpoint, load_weights, use_safe_loading
from kd3d.configs import Options, custom_hooks, default_work_dir, load_config, require_entries
from kd3d.errors import UserError, user_errors
from kd3d.evaluation.accuracy import prepare_test, write_accuracy_record
from kd3d.report.record import ROLES


def parse_args() -> argparse.Namespace:
    """Reads mmdet's own flags, and those of the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="the checkpoint's config")
    parser.add_argument("checkpoint", help="checkpoint file; with --backend, an exported folder")
    parser.add_argument("--work-dir", help="where record and predictions go")
    parser.add_argument(
        "--backend",
        choices=["onnxruntime", "tensorrt", "pytorch"],
        help="run what tools/export.py wrote",
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="with --backend")
    parser.add_argument("--show-dir", help="save painted images into this folder of the work dir")
    parser.add_argument("--seed", type=int, help="the run was trained with, for the record")
    parser.add_argument("--role", default="", choices=ROLES, help="for the record")
    parser.add_argument("--name", default="", help="of the run in its record")
    parser.add_argument("--cfg-options", nargs="+", action=Options, help="key=value overrides")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    return parser.parse_args()


def configured(args: argparse.Namespace) -> Config:
    """The config with the command line's settings in it."""
    config = load_config(args.config, args.cfg_options)
    require_entries(config, ["model", "test_dataloader", "test_cfg"], args.config)
    config.launcher = args.launcher
    config.work_dir = default_work_dir(config, args.config, args.work_dir)
    config.resume = False
    config.started_from = config.get("load_from")  # for the record
    config.load_from = None if args.backend else args.checkpoint
    config.custom_hooks = custom_hooks(config, without="DistillHook")  # a test needs no teacher
    if args.show_dir and config.get("default_scope") == "mmdet3d":
        raise UserError(
            f"--show-dir {args.show_dir}: paints 2D boxes into images, but {args.config} detects "
            "in 3D; tools/report.py draws the record's boxes from above"
        )
    if args.show_dir and "visualizer" not in config:
        raise UserError(
            f"config {args.config}: --show-dir needs a painter in it: "
            "--cfg-options visualizer.type=mmdet.DetLocalVisualizer"
        )
    if args.show_dir:
        config.default_hooks.visualization = {
            "type": "DetVisualizationHook",
            "draw": True,
            "test_out_dir": args.show_dir,
        }
    prepare_test(config, config.work_dir)
    return config


def build_runner(config: Config, args: argparse.Namespace) -> Runner:
    """The runner, its checkpoint loaded strictly before MMEngine loads it leniently."""
    if args.backend:
        from kd3d.export.detections.backend_detector import backend_detector
        from kd3d.export.same_model import check_same_model

        check_same_model(config, args.checkpoint)
        config.model = backend_detector(
            args.checkpoint, args.backend, config, precision=args.precision
        )
        return Runner.from_cfg(config)
    state = load_checkpoint(args.checkpoint)["state_dict"]
    runner = Runner.from_cfg(config)
    model = getattr(runner.model, "module", runner.model)
    load_weights(model, state, where=f"checkpoint {args.checkpoint}")
    return runner


def main() -> None:
    """Tests and prints where the record lies."""
    args = parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    with user_errors(), building(args.config):
        use_safe_loading()
        runner = build_runner(configured(args), args)
        runner.test()
        if is_main_process():
            bundle = args.backend and Bundle.read(args.checkpoint)
            tested = str(bundle.model_path(args.precision)) if bundle else args.checkpoint
            record = write_accuracy_record(
                runner,
                runner.work_dir,
                checkpoint=tested,
                role=args.role,
                name=args.name,
                seed=args.seed,
                conditions={"backend": args.backend or "pytorch", "precision": args.precision},
            )
            print(f"record: {record}")


if __name__ == "__main__":
    main()
