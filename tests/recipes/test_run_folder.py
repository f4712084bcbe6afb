import json

import pytest
import torch
from mmengine.config import Config

from kd3d.errors import UserError
from kd3d.recipes.plan import Run
from kd3d.recipes.run_folder import RunFolder, Stage, settings_of
from kd3d.report.record import Record


def run(lr=0.1, **entries):
    train = Config({"optimizer": {"lr": lr}, "steps": (1, 2)})
    return Run(**{"name": "toy/seed0", "role": "baseline", "train": train, **entries})


def test_a_folder_goes_through_all_stages(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.stage() is Stage.NEW
    (tmp_path / "last_checkpoint").write_text("elsewhere/iter_5.pth")
    assert folder.stage() is Stage.NEW  # noted, but the file itself is gone
    torch.save({"state_dict": {}}, tmp_path / "iter_5.pth")
    assert folder.stage() is Stage.INTERRUPTED
    Record(kind="training", role="", name="", metrics={}).write(tmp_path / "record-training.json")
    assert folder.stage() is Stage.TRAINED
    Record(kind="accuracy", role="", name="", metrics={}).write(tmp_path / "record-accuracy.json")
    assert folder.stage() is Stage.FINISHED


@pytest.mark.parametrize("note", ["", "\0\0\0", "old/iter_9.pth", "old/iter_10.pth", None])
def test_the_newest_whole_checkpoint_stands_in_for_what_is_damaged(tmp_path, note):
    folder = RunFolder(tmp_path)
    whole = tmp_path / "iter_9.pth"
    torch.save({"state_dict": {}}, whole)
    torch.save({"state_dict": {}}, tmp_path / "iter_8.pth")
    torch.save({"state_dict": {}}, tmp_path / "best_iter_11.pth")
    (tmp_path / "iter_10.pth").write_bytes(whole.read_bytes()[:-30])
    if note is not None:
        (tmp_path / "last_checkpoint").write_text(note)
    assert folder.checkpoint() == whole
    assert folder.stage() is Stage.INTERRUPTED
    for name in ("iter_8.pth", "iter_9.pth"):
        (tmp_path / name).unlink()
    assert folder.stage() is Stage.NEW


def test_of_a_finished_training_no_earlier_checkpoint_is_taken(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "epoch_9.pth")
    (tmp_path / "epoch_10.pth").write_bytes(b"cut off")
    Record(kind="training", role="", name="", metrics={}).write(tmp_path / "record-training.json")
    assert RunFolder(tmp_path).checkpoint() == tmp_path / "epoch_10.pth"


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


def started_from(start, teacher, **entries):
    """A training from weights, with a teacher that is not the recipe's."""
    hook = {"type": "DistillHook", "teacher": {"config": "t.py", "checkpoint": str(teacher)}}
    train = Config({"load_from": str(start), "custom_hooks": [{"type": "EMAHook"}, hook]})
    return run(train=train, **entries)


@pytest.mark.parametrize("changed", ["start.pth", "teacher.pth"])
def test_a_run_from_other_weights_is_another_one(tmp_path, changed):
    files = [tmp_path / "start.pth", tmp_path / "teacher.pth"]
    for file in files:
        file.write_bytes(b"first")
    before = settings_of(started_from(*files), {})
    needing = settings_of(run(needs=("student",)), {"student": before})
    folder, other = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "other")
    folder.claim(before)
    other.claim(needing)
    (tmp_path / changed).write_bytes(b"second")
    now = settings_of(started_from(*files), {})
    assert {key for key in now if now[key] != before[key]} == {f"weights.{tmp_path / changed}"}
    assert folder.is_of(before)
    assert not folder.is_of(now)
    assert not other.is_of(settings_of(run(needs=("student",)), {"student": now}))


def test_weights_that_only_one_side_knows_make_no_other_run(tmp_path):
    """A run of before they were noted, or of weights that have been cleared away since."""
    start = tmp_path / "start.pth"
    folder = RunFolder(tmp_path / "run")
    absent = settings_of(started_from(start, "https://example.org/t.pth"), {})
    folder.claim(absent)
    start.write_bytes(b"first")
    known = settings_of(started_from(start, "https://example.org/t.pth"), {})
    assert known.keys() - absent.keys() == {f"weights.{start}"}
    assert folder.is_of(known)
    needing = [settings_of(run(needs=("s",)), {"s": one}) for one in (absent, known)]
    assert needing[0]["needs.s"] == needing[1]["needs.s"]
    folder.note(known)
    folder.note({**absent, "weights.other.pth": "first"})  # what was known stays
    assert not folder.is_of({**known, f"weights.{start}": "another"})


@pytest.mark.parametrize("content", ["", "\0\0", '{"seed": ', "null"])
def test_a_damaged_note_of_the_settings_is_named(content, tmp_path):
    """What is there may be hours of training: nothing is deleted for it."""
    folder, settings = RunFolder(tmp_path / "run"), settings_of(run(), {})
    folder.claim(settings)
    torch.save({"state_dict": {}}, folder.path / "iter_5.pth")
    (folder.plan / "settings.json").write_text(content)
    says = r"settings\.json: damaged.* delete .*run to do it again"
    for ask in (folder.claim, folder.check, folder.is_of):
        with pytest.raises(UserError, match=says):
            ask(settings)
    assert (folder.path / "iter_5.pth").is_file()


def test_a_damaged_note_of_the_data_is_named(tmp_path):
    (tmp_path / "set.json").write_text("")
    with pytest.raises(UserError, match=r"set\.json: damaged; make the data set anew"):
        settings_of(on_data(tmp_path), {})


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
