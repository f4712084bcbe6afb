"""The plan of a recipe: which runs there are, with which config, and what each waits for.

Nothing here trains, reads results or writes files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config

from kd3d.errors import UserError
from kd3d.recipes.recipe import Recipe
from kd3d.recipes.twins import (
    baseline_config,
    control_config,
    teacher_hook,
    teacher_test_config,
    variant_config,
    with_teacher_checkpoint,
)
from kd3d.recipes.wall_clock import stretched
from kd3d.report.summary import VARIANT, WALL_CLOCK

RANDOM = "random"
_TEACHER = ("teacher",)


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One training with its evaluation, or an evaluation alone.

    Attributes:
        name: also the folder below the recipe's work dir, such as "distilled/seed0".
        role: "teacher", "baseline", "control" or "distilled".
        train: config of the training, before ``complete``; None if there is nothing to train.
        test: config of the evaluation; None takes the completed config of the training.
        seed: of the training.
        checkpoint: path or URL of the weights of a run that is not trained.
        published: where the final weights of this run are copied for others to find.
        needs: names of runs that must have finished.
        scale_from: the distilled run that measures this control's strength, or "".
        pace_from: (distilled, baseline) runs whose step times this run's length follows, or None.
        terms: the control's losses, see ``Control``.
    """

    name: str
    role: str
    train: Config | None = None
    test: Config | None = None
    seed: int = 0
    checkpoint: str = ""
    published: Path | None = None
    needs: tuple[str, ...] = ()
    scale_from: str = ""
    pace_from: tuple[str, str] | None = None
    terms: tuple[str, ...] | None = None

    @property
    def group(self) -> str:
        """The name without the seed: "teacher", "baseline-wall-clock", "variant-heatmap", ..."""
        return self.name.split("/")[0]


@dataclass(frozen=True)
class Pace:
    """What the training of a finished run measured.

    Attributes:
        seconds_per_iter: median over the run.
        gradient_scale: of a distilled run: mean of |g_task + g_distill| / |g_task|.
    """

    seconds_per_iter: float | None
    gradient_scale: float | None = None


def plan_runs(recipe: Recipe, teacher: Config, work_dir: Path) -> list[Run]:
    """All runs of a recipe, each after what it needs.

    Args:
        recipe: what to compare.
        teacher: the config that the recipe's teacher hook names.
        work_dir: of the recipe.

    Raises:
        UserError: the config cannot be compared with twins, or a variant names what is not there.
    """
    runs = [_teacher_run(recipe, teacher, work_dir)]
    distilled = recipe.distilled
    if runs[0].published:
        distilled = with_teacher_checkpoint(distilled, recipe.teacher, str(runs[0].published))
    baseline = baseline_config(distilled)
    # The teacher's evaluation comes first: it is short, and shows at once if it is no good.
    students = [_student("distilled", seed, distilled) for seed in recipe.seeds]
    runs += [replace(run, needs=_TEACHER) for run in students]
    runs += [_student("baseline", seed, baseline) for seed in recipe.seeds]
    runs += [_control(recipe, seed) for seed in recipe.seeds]
    if recipe.equal_wall_clock:
        stretched(baseline, 1.0)  # refuses now what could not be stretched after hours
        runs += [_as_long(_student("baseline", seed, baseline)) for seed in recipe.seeds]
        runs += [_as_long(_control(recipe, seed)) for seed in recipe.seeds]
    for variant in recipe.variants:
        changed = variant_config(distilled, variant.name, variant.pairs, variant.changes)
        varied = [_student("distilled", seed, changed) for seed in recipe.seeds]
        names = [f"{VARIANT}{variant.name}/seed{run.seed}" for run in varied]
        runs += [replace(run, name=n, needs=_TEACHER) for run, n in zip(varied, names, strict=True)]
    return runs


def select(runs: Sequence[Run], groups: Sequence[str]) -> list[Run]:
    """The runs of some groups; all of them for an empty selection.

    Raises:
        UserError: a group that the plan does not have.
    """
    present = list(dict.fromkeys(run.group for run in runs))
    for group in groups:
        if group not in present:
            raise UserError(f"--only {group}: expected one of {', '.join(present)}")
    return [run for run in runs if not groups or run.group in groups]


def complete(config: Config, run: Run, paces: Mapping[str, Pace]) -> Config:
    """Fills what had to be measured first into a planned config.

    Args:
        config: ``run.train``.
        run: the run it belongs to.
        paces: of the runs in ``run.needs``, by name.

    Returns:
        A config that can be trained.

    Raises:
        UserError: a needed run did not measure what is wanted.
    """
    if run.scale_from:
        scale = paces[run.scale_from].gradient_scale
        if scale is None:
            raise UserError(
                f"{run.name}: {run.scale_from}/record-training.json has no gradient_scale, the "
                "strength of the control; set it in the recipe: control=dict(scale=...)"
            )
        config = control_config(config, scale=scale, terms=run.terms)
    if run.pace_from:
        distilled, baseline = (paces[name].seconds_per_iter for name in run.pace_from)
        if not distilled or not baseline:
            raise UserError(
                f"{run.name}: seconds_per_iter is missing in the record-training.json of one of "
                f"{' and '.join(run.pace_from)}; leave equal wall clock out"
            )
        # Below 1 is noise: a step without a teacher cannot take longer.
        config = stretched(config, max(1.0, distilled / baseline))
    return config


def _teacher_run(recipe: Recipe, teacher: Config, work_dir: Path) -> Run:
    hook = teacher_hook(recipe.distilled, recipe.teacher)
    test = teacher_test_config(recipe.distilled, teacher)
    if recipe.train_teacher:
        published = work_dir / "teacher" / "final.pth"
        return Run(name="teacher", role="teacher", train=teacher, test=test, published=published)
    checkpoint = hook.teacher.get("checkpoint") or RANDOM
    if checkpoint == RANDOM:
        raise UserError(
            f"{recipe.distilled.filename}: the teacher has random weights, so there is no gap to "
            "close; give its checkpoint, or train it in the recipe: train_teacher=True"
        )
    return Run(name="teacher", role="teacher", test=test, checkpoint=checkpoint)


def _student(role: str, seed: int, config: Config) -> Run:
    return Run(name=f"{role}/seed{seed}", role=role, train=config, seed=seed)


def _control(recipe: Recipe, seed: int) -> Run:
    scale, terms = recipe.control.scale, recipe.control.terms
    if scale is not None:
        return _student("control", seed, control_config(recipe.distilled, scale=scale, terms=terms))
    run = _student("control", seed, baseline_config(recipe.distilled))
    source = f"distilled/seed{seed}"
    return replace(run, needs=(source,), scale_from=source, terms=terms)


def _as_long(run: Run) -> Run:
    """The same run, for as long as the iterations of the distilled student of its seed took."""
    pace = (f"distilled/seed{run.seed}", f"baseline/seed{run.seed}")
    name = f"{run.role}{WALL_CLOCK}/seed{run.seed}"
    return replace(run, name=name, needs=pace, pace_from=pace)
