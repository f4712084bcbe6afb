"""Runs a distilled student beside its teacher and twins, over several seeds, and reports the gap.

python tools/run_recipe.py configs/recipes/demo.py
python tools/run_recipe.py configs/det2d/CONFIG.py --seeds 0 1 2 --equal-wall-clock --jobs 2

The same command goes on after an interrupt; what is finished is not repeated.
"""

import argparse
import time
from pathlib import Path

from kd3d.command_line import count
from kd3d.configs import Options, load_config
from kd3d.errors import user_errors
from kd3d.recipes.clock import Clock
from kd3d.recipes.continued import continued
from kd3d.recipes.crew import Crew, Machine
from kd3d.recipes.deliver import EXPORTED, export_roles, report
from kd3d.recipes.execute import execute, only_command_in
from kd3d.recipes.outcome import gap_table, link_twins
from kd3d.recipes.outlook import minutes
from kd3d.recipes.plan import plan_runs, select
from kd3d.recipes.prepare import prepare
from kd3d.recipes.recipe import read_recipe
from kd3d.recipes.twins import teacher_hook
from kd3d.signals import ended_by_signals

TOOLS = Path(__file__).resolve().parent


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("recipe", help="a recipe, or a config with a DistillHook")
    add("--work-dir", type=Path, help="default: work_dirs/<name of the recipe>")
    add("--seeds", type=int, nargs="+", help="instead of the recipe's")
    add("--equal-wall-clock", action="store_true", default=None, help="twins that train as long")
    add("--train-teacher", action="store_true", default=None, help="train the teacher's config")
    add("--only", nargs="+", default=[], metavar="ROLE", help="teacher, baseline, distilled, ...")
    add("--cfg-options", nargs="+", action=Options, help="key=value for the distilled config")
    add("--jobs", type=count, default=1, help="runs at a time, each with its share of the cores")
    add("--launcher", choices=["none", "pytorch"], default="none", help="pytorch: torchrun")
    add("--nproc", type=count, default=1, help="processes of one training, with --launcher pytorch")
    add("--force", action="store_true", help="delete and repeat runs made with other settings")
    args = parser.parse_args()
    if args.nproc > 1 and args.launcher == "none":
        parser.error("--nproc needs --launcher pytorch")
    return args


def say(text: str) -> None:
    """Prints a line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def main() -> None:
    """Prepares, plans, executes, compares and reports."""
    args = parse_args()
    changes = {"seeds": args.seeds, "train_teacher": args.train_teacher}
    changes["equal_wall_clock"] = args.equal_wall_clock
    machine = Machine(tools=TOOLS, jobs=args.jobs, processes=args.nproc)
    with user_errors(), ended_by_signals():
        recipe = read_recipe(
            args.recipe,
            cfg_options=args.cfg_options,
            changes={key: value for key, value in changes.items() if value is not None},
        )
        work_dir = args.work_dir or Path("work_dirs") / recipe.name
        teacher = load_config(teacher_hook(recipe.distilled, recipe.teacher).teacher.config)
        runs = plan_runs(recipe, teacher, work_dir)
        runs = continued(runs, recipe.continues, work_dir, wanted=select(runs, args.only))
        chosen, exports = select(runs, args.only), len(EXPORTED) if recipe.export else 0
        say(f"data: {len(recipe.prepare)} commands, then {len(chosen)} runs, {exports} exports")
        with only_command_in(work_dir) as lock, Crew(machine, say, lock=lock) as crew:
            clock = Clock(work_dir, recipe.name, jobs=args.jobs)
            with clock.stage("data"):
                prepare(recipe.prepare, work_dir, crew)
            with clock.stage("runs"):
                execute(runs, chosen, work_dir, crew=crew, force=args.force, exports=exports)
            summary = link_twins(runs, work_dir)
            if recipe.export:
                with clock.stage("export"):
                    export_roles(runs, work_dir, input_size=recipe.input_size, crew=crew)
            page = report(work_dir, crew)
        print(gap_table(summary))
        print(f"took {minutes(clock.total_s)} in all")
        print(page / "index.html")


if __name__ == "__main__":
    main()
