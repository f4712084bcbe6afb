import os
import re
import signal
from collections import OrderedDict
from types import SimpleNamespace

import mmdet.models  # noqa: F401  (here, because it takes seconds)
import pytest
import torch
from mmengine.hooks import CheckpointHook, IterTimerHook
from torch import nn
from toys_families import tiny_config, tiny_detector

from kd3d.checkpoints import load_checkpoint, load_weights, local_checkpoint, save_whole
from kd3d.errors import UserError

pytestmark = pytest.mark.usefixtures("interrupts_heard")


def test_an_interrupt_waits_for_the_checkpoint(tmp_path, monkeypatch):
    """MMEngine writes the note that names a checkpoint last, after deleting the one before."""
    note = tmp_path / "last_checkpoint"

    def write(_self, _runner):
        note.write_text("")
        os.kill(os.getpid(), signal.SIGINT)
        note.write_text("iter_1.pth")

    monkeypatch.setattr(CheckpointHook, "_save_checkpoint", write)
    hook = CheckpointHook(interval=1, by_epoch=False)
    runner = SimpleNamespace(hooks=[IterTimerHook(), hook], iter=0, max_iters=9, logger=None)
    runner.logger = SimpleNamespace(info=print)
    with pytest.raises(KeyboardInterrupt):
        hook.after_train_iter(runner, 0)
    assert note.read_text() == ""
    save_whole(runner)
    with pytest.raises(KeyboardInterrupt):
        hook.after_train_iter(runner, 0)
    assert note.read_text() == "iter_1.pth"


class Renamed(nn.Linear):
    """Reads an earlier name, as mmdet's AnchorFreeHead does, where it carries no version."""

    _version = 1

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *given):
        if local_metadata.get("version") is None and f"{prefix}old" in state_dict:
            state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}old")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *given)


def test_modules_may_read_the_names_of_earlier_versions():
    model = nn.Sequential(nn.Linear(2, 2), Renamed(2, 2))
    old = {"1.old" if key == "1.weight" else key: 2 * v for key, v in model.state_dict().items()}
    load_weights(model, old, where="checkpoint", in_order=True)
    assert torch.equal(model[1].weight, old["1.old"])
    versioned = model.state_dict()
    versioned["1.old"] = versioned.pop("1.weight")
    with pytest.raises(UserError, match=r"missing: 1 \(1 in 1\), such as 1.weight; unexpected: 1"):
        load_weights(model, versioned, where="checkpoint")
    swapped = dict(reversed(old.items()))
    with pytest.raises(UserError, match=r"counts 1.bias where this config has 0.weight"):
        load_weights(model, swapped, where="checkpoint", in_order=True)


def test_a_weight_that_is_no_tensor_is_named():
    model = nn.Linear(2, 2)
    state = {**model.state_dict(), "bias": "none"}
    with pytest.raises(UserError, match=r'does not fit Linear .* parameter named "bias"'):
        load_weights(model, state, where="checkpoint")


def test_other_names_of_a_stock_head():
    """FCOS had fcos_cls and fcos_reg in mmdet 1."""
    detector = tiny_detector(tiny_config("fcos"))
    old = OrderedDict(
        (re.sub(r"bbox_head\.conv_(cls|reg|centerness)\b", r"bbox_head.fcos_\1", key), value + 1)
        for key, value in detector.state_dict().items()
    )
    assert sum("fcos_" in key for key in old) == 6
    load_weights(detector, old, where="checkpoint")
    assert torch.equal(detector.bbox_head.conv_reg.bias, old["bbox_head.fcos_reg.bias"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"hello " * 300, r"cut off or not a checkpoint \(1800 bytes\); download or copy it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_a_file_that_is_something_else(content, says, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        load_checkpoint(path)


def test_a_folder_is_called_one(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("recipe", "missing", "says"),
    [
        (
            "train_teacher=True",
            "work_dirs/long/teacher/final.pth",
            r"no such file; train it: python tools/run_recipe.py configs/recipes/long.py --only",
        ),
        ("seeds=[0]", "work_dirs/long/teacher/final.pth", "no such file; check the path"),
        ("train_teacher=True", "work_dirs/long/student/final.pth", "check the path"),
        ("train_teacher=True", "work_dirs/short/teacher/final.pth", "check the path"),
    ],
)
def test_a_teacher_that_a_recipe_trains_names_the_recipe(
    recipe, missing, says, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "configs" / "recipes"
    folder.mkdir(parents=True)
    (folder / "long.py").write_text(f"recipe = dict({recipe})")
    with pytest.raises(UserError, match=says):
        load_checkpoint(missing)


@pytest.mark.parametrize("url", ["https://...", "https://example.com:port/weights.pth"])
def test_an_address_that_is_none(url, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=f"{re.escape(url)}: cannot be downloaded .* local path"):
        load_checkpoint(url)


def test_a_downloaded_checkpoint_is_a_file_to_hash(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub" / "checkpoints" / "weights.pth"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"x")
    assert local_checkpoint("https://example.com/weights.pth") == kept
