import json
import sys
import time
from types import SimpleNamespace

import pytest

from kd3d.errors import UserError
from kd3d.recipes import crew
from kd3d.recipes.children import Command
from kd3d.recipes.execute import all_settings, execute, only_command_in
from kd3d.recipes.plan import Run, plan_runs, select
from kd3d.recipes.recipe import Control, Recipe
from kd3d.report.record import Record


@pytest.fixture
def work(tmp_path):
    return tmp_path / "work"


@pytest.fixture
def carry_out(tools, teacher, distilled, work):
    """Plans and executes with the fake tools; returns their calls and what was said."""

    def _carry_out(config=None, *, only=(), force=False, jobs=1, **entries):
        entries = {"seeds": (0,), "train_teacher": True, **entries}
        recipe = Recipe(name="toy", distilled=config or distilled, **entries)
        runs = plan_runs(recipe, teacher, work)
        said = []
        try:
            with crew.Crew(tools.machine(jobs=jobs), said.append) as hands:
                execute(runs, select(runs, only), work, crew=hands, force=force)
        finally:
            _carry_out.said = said
        return tools.calls()

    return _carry_out


def test_every_run_is_trained_and_tested_once_in_order(carry_out, work):
    assert carry_out() == [
        "train teacher",
        f"test teacher {work}/teacher/final.pth",
        "train distilled/seed0",
        f"test distilled/seed0 {work}/distilled/seed0/iter_100.pth",
        "train baseline/seed0",
        f"test baseline/seed0 {work}/baseline/seed0/iter_100.pth",
        "train control/seed0",
        f"test control/seed0 {work}/control/seed0/iter_100.pth",
    ]
    took = "distilled/seed0: AP 30.0, took "  # on a busy machine a second or more
    assert any(line.startswith(took) for line in carry_out.said)
    made_up = "control/seed0: AP 25.0 (synthetic world), took "
    assert any(line.startswith(made_up) for line in carry_out.said)


def test_finished_runs_are_not_repeated(carry_out):
    carry_out()
    assert carry_out() == []
    assert carry_out.said == ["runs: 4, finished before: 4"]


def test_more_seeds_add_runs_only(carry_out):
    chosen = {"only": ["baseline", "control"], "control": Control(scale=2.0)}
    carry_out(**chosen)
    names = {line.split()[1] for line in carry_out(seeds=(0, 1), **chosen)}
    assert names == {"baseline/seed1", "control/seed1"}


def test_the_measured_strength_and_pace_reach_the_trained_configs(carry_out, work):
    carry_out(seeds=(1,), equal_wall_clock=True)
    control = (work / "control/seed1/plan/control.py").read_text()
    assert "scale=2.5" in control  # the fake measures 1 + seed + 0.5
    longer = (work / "control-wall-clock/seed1/plan/control-wall-clock.py").read_text()
    assert "scale=2.5" in longer
    assert "max_iters=125" in longer  # 100 * 0.25 s / 0.2 s


def test_an_interrupted_run_resumes(carry_out, tools, work, monkeypatch):
    tools.order({"baseline/seed0": "hang"})
    begun = work / "baseline/seed0/last_checkpoint"

    def interrupted_sleep(_):
        if begun.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(crew, "time", SimpleNamespace(monotonic=lambda: 0, sleep=interrupted_sleep))
        with pytest.raises(KeyboardInterrupt):
            carry_out(only=["baseline"])
    tools.calls()
    tools.order({})
    assert carry_out(only=["baseline"])[0] == "train baseline/seed0 from iter_100.pth"
    assert "baseline/seed0: training, resumed" in carry_out.said


def test_a_run_stopped_before_its_first_checkpoint_starts_anew(carry_out, work):
    carry_out(only=["baseline"])
    folder = work / "baseline/seed0"
    for name in ("record-accuracy.json", "record-training.json", "iter_100.pth"):
        (folder / name).unlink()
    (folder / "old.log").write_text("of the stopped training")
    assert carry_out(only=["baseline"])[0] == "train baseline/seed0"
    assert not (folder / "old.log").exists()


def test_after_a_power_failure_a_run_goes_on_from_what_is_whole(carry_out, work, tools):
    carry_out(only=["baseline"])
    folder = work / "baseline/seed0"
    for name in ("record-accuracy.json", "record-training.json"):
        (folder / name).unlink()
    (folder / "last_checkpoint").write_bytes(bytes(20))
    (folder / "iter_100.pth").rename(folder / "iter_50.pth")
    (folder / "iter_100.pth").write_bytes((tools.folder / "whole.pth").read_bytes()[:-30])
    assert carry_out(only=["baseline"])[0] == "train baseline/seed0 from iter_50.pth"


def test_a_run_that_was_trained_but_not_tested_is_only_tested(carry_out, work):
    carry_out(only=["baseline"])
    (work / "baseline/seed0/record-accuracy.json").unlink()
    assert carry_out(only=["baseline"]) == [
        f"test baseline/seed0 {work}/baseline/seed0/iter_100.pth"
    ]


def test_a_changed_config_is_refused_before_anything_runs(carry_out, distilled, tools):
    carry_out(only=["baseline"])
    distilled.train_cfg.max_iters = 200
    with pytest.raises(UserError, match="max_iters: 100 -> 200") as raised:
        carry_out(distilled)
    assert "baseline/seed0: was finished with other settings" in str(raised.value)
    assert "--force" in str(raised.value)
    assert tools.calls() == []


def test_force_repeats_what_changed_and_no_more(carry_out, distilled):
    carry_out()
    distilled.custom_hooks[1].pairs[0].student = "backbone"
    names = {line.split()[1] for line in carry_out(distilled, force=True)}
    assert names == {"distilled/seed0", "control/seed0"}  # the control's strength comes from it


def test_a_folder_that_no_recipe_made_is_left_alone(carry_out, work):
    (work / "baseline/seed0").mkdir(parents=True)
    (work / "baseline/seed0/thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds files that no recipe wrote"):
        carry_out(force=True)
    assert (work / "baseline/seed0/thesis.txt").exists()


def test_a_failing_child_is_reported_with_its_log(carry_out, tools, work):
    tools.order({"baseline/seed0": "fail"})
    with pytest.raises(UserError) as raised:
        carry_out(only=["baseline"])
    message = str(raised.value)
    assert "baseline/seed0: training failed with exit code 1" in message
    assert "error: the toy was told to fail" in message
    assert f"log: {work}/baseline/seed0/train.log" in message
    tools.calls()
    tools.order({})
    assert carry_out(only=["baseline"])[0] == "train baseline/seed0"


def test_only_needs_what_is_not_there(carry_out):
    with pytest.raises(UserError, match=r"control/seed0 needs distilled/seed0.*add distilled"):
        carry_out(only=["control"])
    assert len(carry_out(only=["control"], control=Control(scale=2.0))) == 2


def test_two_jobs_run_beside_each_other(carry_out, tools, work, monkeypatch):
    tools.order({"baseline/seed0": "hang", "baseline/seed1": "hang"})
    begun = [work / f"baseline/seed{seed}/last_checkpoint" for seed in (0, 1)]

    deadline_s = time.monotonic() + 20

    def look(_):
        assert time.monotonic() < deadline_s, "one waits for the other to end"
        if all(path.exists() for path in begun):  # only now may either end
            (tools.folder / "go").touch()

    monkeypatch.setattr(crew, "time", SimpleNamespace(monotonic=lambda: 0, sleep=look))
    assert len(carry_out(only=["baseline"], seeds=(0, 1), jobs=2)) == 4


def test_records_of_a_moved_work_dir_still_lead_to_the_checkpoint(carry_out, work):
    carry_out(only=["baseline"])
    note = (work / "baseline/seed0/last_checkpoint").read_text()
    assert note == "/moved/since/iter_100.pth"  # what the fake wrote; yet it was tested
    assert Record.read(work / "baseline/seed0/record-accuracy.json").metrics == {"AP": 20.0}


def test_a_second_command_in_the_same_folder_is_refused(tmp_path):
    with (
        only_command_in(tmp_path),
        pytest.raises(UserError, match="another recipe command"),
        only_command_in(tmp_path),
    ):
        pass
    with only_command_in(tmp_path):
        pass


def test_children_of_a_killed_command_keep_the_next_one_out(tmp_path, tools):
    sleeper = Command(
        "toy", (sys.executable, "-c", "import time; time.sleep(60)"), tmp_path / "log"
    )
    with only_command_in(tmp_path) as lock:
        hands = crew.Crew(tools.machine(), print, lock=lock)
        hands.start("x", iter([sleeper]))  # who is killed does not end it
    child = hands._active[0].child
    try:
        message = rf"earlier command, which was killed.*: kill -TERM -{child._process.pid}\."
        with pytest.raises(UserError, match=message), only_command_in(tmp_path):
            pass
    finally:
        child.stop()
    with only_command_in(tmp_path):
        pass


def test_weights_are_noted_with_finished_runs_that_did_not_know_them(
    carry_out, distilled, tmp_path, work
):
    weights = tmp_path / "start.pth"
    weights.write_bytes(b"first")
    distilled.load_from = str(weights)
    carry_out(only=["baseline"])
    noted = work / "baseline/seed0/plan/settings.json"
    settings = json.loads(noted.read_text())
    key = f"weights.{weights}"
    noted.write_text(json.dumps({k: v for k, v in settings.items() if k != key}))  # as of before
    assert carry_out(only=["baseline"]) == []
    assert json.loads(noted.read_text()) == settings
    weights.write_bytes(b"second")
    with pytest.raises(UserError, match="was finished with other settings") as raised:
        carry_out(only=["baseline"])
    assert key in str(raised.value)


def test_weights_of_a_needed_run_enter_by_its_settings_alone(distilled, tmp_path):
    """Those that it publishes are others after each training, and not there before the first."""
    published, given = tmp_path / "final.pth", tmp_path / "given.pth"
    distilled.custom_hooks[1].teacher.checkpoint = str(published)
    distilled.load_from = str(given)
    runs = [
        Run(name="teacher", role="teacher", published=published),
        Run(name="evaluated", role="teacher", checkpoint=str(given)),
        Run(name="distilled", role="distilled", train=distilled, needs=("teacher", "evaluated")),
    ]
    before = all_settings(runs)["distilled"]
    published.write_bytes(b"trained")
    assert all_settings(runs)["distilled"] == before
    given.write_bytes(b"trained")
    now = all_settings(runs)["distilled"]
    assert {key for key in now if now[key] != before.get(key)} == {"needs.evaluated"}


def test_settings_are_kept_as_json(carry_out, work):
    carry_out(only=["baseline"])
    settings = json.loads((work / "baseline/seed0/plan/settings.json").read_text())
    assert settings["train.optim_wrapper.optimizer.lr"] == 0.1
    assert settings["seed"] == 0
