import shutil
from dataclasses import replace

import pytest

from kd3d.errors import UserError
from kd3d.recipes.continued import continued
from kd3d.recipes.plan import plan_runs, select
from kd3d.recipes.recipe import Recipe, Variant
from kd3d.recipes.run_folder import RunFolder, settings_of
from kd3d.report.record import Record


@pytest.fixture
def runs(distilled, teacher, tmp_path):
    return plan_runs(
        Recipe(name="toy", distilled=distilled, seeds=(3,), train_teacher=True), teacher, tmp_path
    )


def ended(folder, weights):
    folder.mkdir(parents=True)
    (folder / weights).touch()
    Record(kind="training", role="", name="", metrics={}).write(folder / "record-training.json")


def test_each_student_goes_on_from_the_run_of_its_name(runs, tmp_path):
    earlier = tmp_path / "earlier"
    for name in ("distilled", "baseline", "control"):
        ended(earlier / name / "seed3", "iter_50.pth")
        (earlier / name / "seed3/iter_25.pth").touch()
    found = {run.name: run for run in continued(runs, str(earlier), tmp_path / "own", wanted=runs)}
    assert len(found) == 4
    for name in ("distilled/seed3", "baseline/seed3", "control/seed3"):
        assert found[name].train.load_from == str(earlier / name / "iter_50.pth")
    assert "load_from" not in found["teacher"].train
    assert not any("load_from" in run.train for run in runs)


def test_a_forerunner_that_has_not_ended_is_refused_where_it_is_wanted(runs, tmp_path):
    earlier = tmp_path / "earlier"
    ended(earlier / "distilled/seed3", "iter_50.pth")
    (earlier / "baseline/seed3").mkdir(parents=True)
    (earlier / "baseline/seed3/iter_25.pth").touch()
    chosen = continued(runs, str(earlier), tmp_path / "own", wanted=select(runs, ["distilled"]))
    assert chosen[1].train.load_from == str(earlier / "distilled/seed3/iter_50.pth")
    assert "load_from" not in chosen[2].train
    with pytest.raises(UserError, match=r"seed3: no training that has ended.* its baseline and"):
        continued(runs, str(earlier), tmp_path / "own", wanted=select(runs, ["baseline"]))


def test_without_a_forerunner_the_plan_stays(runs, tmp_path):
    assert continued(runs, "", tmp_path / "own", wanted=runs) == runs


def test_what_the_earlier_recipe_has_none_of_goes_on_from_the_run_of_its_role(
    distilled, teacher, tmp_path
):
    recipe = Recipe(name="toy", distilled=distilled, seeds=(3,), equal_wall_clock=True)
    runs = plan_runs(replace(recipe, variants=(Variant("less"),)), teacher, tmp_path)
    earlier = tmp_path / "earlier"
    for name in ("distilled", "baseline", "control"):
        ended(earlier / name / "seed3", f"iter_5{len(name)}.pth")
    found = {r.name: r for r in continued(runs, str(earlier), tmp_path / "own", wanted=runs)}
    longer, less = found["baseline-wall-clock/seed3"], found["variant-less/seed3"]
    assert longer.train.load_from == str(earlier / "baseline/seed3/iter_58.pth")
    assert less.train.load_from == str(earlier / "distilled/seed3/iter_59.pth")


def test_a_run_that_has_begun_keeps_its_start_when_the_forerunner_is_gone(runs, tmp_path):
    earlier, own = tmp_path / "earlier", tmp_path / "own"
    ended(earlier / "distilled/seed3", "iter_50.pth")
    before = continued(runs, str(earlier), own, wanted=select(runs, ["distilled"]))[1]
    ended(own / "distilled/seed3", "iter_9.pth")
    RunFolder(own / "distilled/seed3").note(settings_of(before, {"teacher": {}}))
    shutil.rmtree(earlier)
    again = continued(runs, str(earlier), own, wanted=select(runs, ["distilled"]))[1]
    assert again.train.load_from == before.train.load_from
    assert RunFolder(own / "distilled/seed3").is_of(settings_of(again, {"teacher": {}}))
