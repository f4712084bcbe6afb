"""Checks a distillation config before it is trained: pairs, shapes, connectors, gradients.

python tools/check.py configs/det2d/CONFIG.py
python tools/check.py configs/det2d/CONFIG.py --modules     # what a tap can name

The gradients are those of one batch of two frames at the student's first weights. Other weights and
frames (--seed) give other shares, so take them for an order of magnitude.
"""

import argparse

import kd3d.distill  # noqa: F401  (registers the hook)
from kd3d.building import building
from kd3d.checkpoints import use_safe_loading
from kd3d.configs import Options, load_config, require_entries
from kd3d.distill.inspection import inspect_modules, inspect_pairs
from kd3d.distill.preflight import check_custom_hooks
from kd3d.errors import user_errors


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="with a DistillHook; with --modules any")
    parser.add_argument(
        "--modules", action="store_true", help="list the modules of student and teacher"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights and frames [%(default)s]")
    parser.add_argument("--cfg-options", nargs="+", action=Options, help="key=value overrides")
    return parser.parse_args()


def main() -> None:
    """Prints the pairs, or the modules."""
    args = parse_args()
    with user_errors(), building(args.config):
        use_safe_loading()
        config = load_config(args.config, args.cfg_options)
        require_entries(config, ["model", "train_dataloader", "train_cfg"], args.config)
        config.log_level = "ERROR"
        config.randomness = {**(config.get("randomness") or {}), "seed": args.seed}
        check_custom_hooks(config)
        if args.modules:
            for model, outputs in inspect_modules(config).items():
                print(f"{model}:")
                for out in outputs:
                    times = f" x{out.calls}" if out.calls > 1 else ""
                    print(f"  {out.name:44} {out.kind}{times}: {out.output}")
            return
        for name, inspection in inspect_pairs(config).items():
            print(f"DistillHook {name!r}\n{inspection.text}")
        print("preflight passed")


if __name__ == "__main__":
    main()
