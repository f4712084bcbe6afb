import json

import pytest
from mmengine.config import Config

from kd3d.errors import UserError
from kd3d.recipes.plan import Run
from kd3d.recipes.progress import RunFolder, Stage, settings_of
from kd3d.report.record import Record


def run(lr=0.1, **entries):
    train = Config({"optimizer": {"lr": lr}, "steps": (1, 2)})
    return Run(**{"name": "toy/seed0", "role": "baseline", "train": train, **entries})


def test_a_folder_goes_through_all_stages(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.stage() is Stage.NEW
    (tmp_path / "last_checkpoint").write_text("elsewhere/iter_5.pth")
    assert folder.stage() is Stage.NEW  # noted, but the file itself is gone
    (tmp_path / "iter_5.pth").touch()
    assert folder.stage() is Stage.INTERRUPTED
    Record(kind="training", role="", name="", metrics={}).write(tmp_path / "record-training.json")
    assert folder.stage() is Stage.TRAINED
    Record(kind="accuracy", role="", name="", metrics={}).write(tmp_path / "record-accuracy.json")
    assert folder.stage() is Stage.FINISHED


def test_settings_tell_whether_two_runs_are_the_same():
    first = settings_of(run(), {})
    assert first == settings_of(run(), {})
    assert first["train.optimizer.lr"] == 0.1
    assert first["train.steps"] == [1, 2]
    for other in (run(lr=0.2), run(seed=1), run(terms=("loss_cls",)), run(test=Config({"a": 1}))):
        assert settings_of(other, {}) != first


def test_a_run_is_another_one_if_what_it_needs_is():
    needing = run(needs=("teacher",))
    before = settings_of(needing, {"teacher": {"checkpoint": "a.pth"}})
    assert before == settings_of(needing, {"teacher": {"checkpoint": "a.pth"}})
    assert before != settings_of(needing, {"teacher": {"checkpoint": "b.pth"}})


def test_another_file_under_the_same_name_is_another_checkpoint(tmp_path):
    weights = tmp_path / "teacher.pth"
    weights.write_bytes(b"first")
    teacher = run(train=None, checkpoint=str(weights))
    before = settings_of(teacher, {})
    weights.write_bytes(b"second")
    assert settings_of(teacher, {}) != before


def on_data(root, **entries):
    loader = {"dataset": {"datasets": [{"data_root": f"{root}/"}, {"data_root": "nowhere"}]}}
    return run(train=Config({"train_dataloader": loader}), **entries)


def test_a_run_on_data_made_anew_with_other_settings_is_another_one(tmp_path):
    record = tmp_path / "set.json"
    settings = []
    for seed in (0, 1):
        record.write_text(json.dumps({"seed": seed, "version": 3}))
        teacher = settings_of(on_data(tmp_path), {})
        needing = settings_of(run(needs=("teacher",)), {"teacher": teacher})
        settings.append((teacher, needing))
    (teacher, needing), (other_teacher, other_needing) = settings
    assert teacher[f"data.{tmp_path}/.seed"] == 0
    differing = {key for key in teacher if teacher[key] != other_teacher[key]}
    assert differing == {f"data.{tmp_path}/.seed"}
    assert needing != other_needing


def test_a_long_list_of_differences_is_cut(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.claim({str(key): 0 for key in range(9)})
    Record(kind="accuracy", role="", name="", metrics={}).write(
        folder.path / "record-accuracy.json"
    )
    with pytest.raises(UserError) as raised:
        folder.check({str(key): "x" * 99 for key in range(9)})
    lines = str(raised.value).splitlines()
    assert lines[1] == f"  0: 0 -> '{'x' * 56}..."
    assert lines[6] == "  and 4 more"


def test_a_run_with_other_settings_but_nothing_to_lose_is_replaced(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.claim({"seed": 0})
    (folder.path / "train.log").touch()
    folder.claim({"seed": 1})
    assert folder.is_of({"seed": 1})
    assert not (folder.path / "train.log").exists()


def test_pace_reads_what_was_measured(tmp_path):
    metrics = {"seconds_per_iter": 0.5}
    record = Record(kind="training", role="", name="", metrics=metrics)
    record.write(tmp_path / "record-training.json")
    pace = RunFolder(tmp_path).pace()
    assert pace.seconds_per_iter == 0.5
    assert pace.gradient_scale is None
