from pathlib import Path

import pytest

from kd3d.errors import UserError
from kd3d.recipes.plan import Pace, complete, plan_runs, select
from kd3d.recipes.recipe import Control, Recipe, Variant

WORK = Path("work")


def plan(distilled, teacher, **entries):
    return plan_runs(Recipe(name="toy", distilled=distilled, **entries), teacher, WORK)


def by_name(runs):
    return {run.name: run for run in runs}


def hooks(config):
    return [hook["type"] for hook in config.custom_hooks]


def test_one_run_of_each_kind_and_seed_after_what_it_needs(distilled, teacher):
    runs = plan(distilled, teacher, seeds=(0, 7))
    assert [(run.name, run.needs) for run in runs] == [
        ("teacher", ()),
        ("distilled/seed0", ("teacher",)),
        ("distilled/seed7", ("teacher",)),
        ("baseline/seed0", ()),
        ("baseline/seed7", ()),
        ("control/seed0", ("distilled/seed0",)),
        ("control/seed7", ("distilled/seed7",)),
    ]
    assert [run.seed for run in runs] == [0, 0, 7, 0, 7, 0, 7]


def test_a_given_teacher_is_only_tested(distilled, teacher):
    run = plan(distilled, teacher)[0]
    assert run.train is None
    assert run.checkpoint == "https://example.org/teacher.pth"


def test_a_trained_teacher_teaches_from_where_it_is_published(distilled, teacher):
    runs = by_name(plan(distilled, teacher, train_teacher=True))
    assert runs["teacher"].train is teacher
    assert runs["teacher"].published == WORK / "teacher/final.pth"
    hook = runs["distilled/seed0"].train.custom_hooks[1]
    assert hook.teacher.checkpoint == "work/teacher/final.pth"


def test_a_random_teacher_is_refused_unless_it_is_trained(distilled, teacher):
    distilled.custom_hooks[1].teacher.checkpoint = "random"
    with pytest.raises(UserError, match="train_teacher=True"):
        plan(distilled, teacher)
    assert plan(distilled, teacher, train_teacher=True)[0].published


def test_the_control_takes_the_strength_its_distilled_run_measured(distilled, teacher):
    run = by_name(plan(distilled, teacher, control=Control(terms=("loss_cls",))))["control/seed1"]
    config = complete(run.train, run, {"distilled/seed1": Pace(0.2, gradient_scale=1.8)})
    assert config.custom_hooks[-1] == {
        "type": "GroundTruthScaleHook",
        "scale": 1.8,
        "terms": ["loss_cls"],
    }


def test_a_control_of_given_strength_waits_for_nothing(distilled, teacher):
    run = by_name(plan(distilled, teacher, control=Control(scale=2.0)))["control/seed0"]
    assert run.needs == ()
    config = complete(run.train, run, {})
    assert config.custom_hooks[-1] == {"type": "GroundTruthScaleHook", "scale": 2.0}


def test_a_strength_that_was_not_measured_is_an_error(distilled, teacher):
    run = by_name(plan(distilled, teacher))["control/seed0"]
    with pytest.raises(UserError, match=r"has no gradient_scale.*control=dict\(scale"):
        complete(run.train, run, {"distilled/seed0": Pace(0.2)})


def test_twins_at_equal_wall_clock_train_as_long_as_the_distilled_run(distilled, teacher):
    runs = by_name(plan(distilled, teacher, seeds=(0,), equal_wall_clock=True))
    assert [name for name in runs if "wall" in name] == [
        "baseline-wall-clock/seed0",
        "control-wall-clock/seed0",
    ]
    paces = {"distilled/seed0": Pace(0.3, 1.5), "baseline/seed0": Pace(0.2)}
    for role, added in (("baseline", []), ("control", ["GroundTruthScaleHook"])):
        run = runs[f"{role}-wall-clock/seed0"]
        assert run.role == role
        assert run.needs == ("distilled/seed0", "baseline/seed0")
        config = complete(run.train, run, paces)
        assert config.train_cfg.max_iters == 150  # 100 * 0.3 / 0.2
        assert hooks(config) == ["EMAHook", *added]


def test_a_distilled_run_that_seems_faster_does_not_shorten_its_twin(distilled, teacher):
    runs = by_name(plan(distilled, teacher, seeds=(0,), equal_wall_clock=True))
    run = runs["baseline-wall-clock/seed0"]
    paces = {"distilled/seed0": Pace(0.19), "baseline/seed0": Pace(0.2)}
    assert complete(run.train, run, paces).train_cfg.max_iters == 100


def test_what_cannot_be_stretched_is_refused_before_anything_runs(distilled, teacher):
    distilled.param_scheduler = [{"type": "ExponentialLR", "gamma": 0.9}]
    assert plan(distilled, teacher)
    with pytest.raises(UserError, match="ExponentialLR"):
        plan(distilled, teacher, equal_wall_clock=True)


def test_select_takes_whole_groups(distilled, teacher):
    runs = plan(distilled, teacher, seeds=(0,), equal_wall_clock=True)
    assert select(runs, []) == runs
    assert [run.name for run in select(runs, ["baseline", "teacher"])] == [
        "teacher",
        "baseline/seed0",
    ]
    with pytest.raises(UserError, match="--only student: expected one of teacher, distilled"):
        select(runs, ["student"])


def test_variants_come_last_and_learn_from_the_same_teacher(distilled, teacher):
    variants = (
        Variant("none-but-neck", pairs=("neck",)),
        Variant("hot", None, {"train_cfg.max_iters": 7}),
    )
    runs = plan(distilled, teacher, seeds=(0, 3), variants=variants, train_teacher=True)
    last = [(run.name, run.role, run.group, run.seed, run.needs) for run in runs[-4:]]
    assert last == [
        (f"variant-{name}/seed{seed}", "distilled", f"variant-{name}", seed, ("teacher",))
        for name in ("none-but-neck", "hot")
        for seed in (0, 3)
    ]
    assert runs[-4].train.custom_hooks[1].teacher.checkpoint == "work/teacher/final.pth"
