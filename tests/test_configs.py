import argparse

import pytest
from mmengine.config import Config
from mmengine.config import config as mmengine_config
from mmengine.optim import OptimWrapper

from kd3d.configs import Options, class_names, default_work_dir, load_config, require_entries
from kd3d.errors import UserError

CONTENT = """
width = 8
model = dict(type="RetinaNet", neck=dict(out_channels=width))
param_scheduler = [dict(end=3), dict(end=9)]
optim_wrapper = dict(optimizer=dict(lr=0.1))
"""
TYPED = """
default_scope = "mmdet3d"
optim_wrapper.update(type="OptimWrapper", accumulative_counts=2)
optim_wrapper["optimizer"]["type"] = "AdamW"
test_cfg = dict(score_thr=0.1)
train_pipeline = [dict(type="LoadAnnotations3D", with_label_3d=True)]
custom_hooks = [dict(type="NoSuchHook")]
"""


class Derived(OptimWrapper):
    def __init__(self, *, accumulative_count: int = 1, **kwargs) -> None:
        super().__init__(**kwargs)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "student.py"
    path.write_text(CONTENT)
    return path


def test_overrides_reach_dicts_lists_and_new_branches(path):
    config = load_config(
        path,
        {
            "model.neck.out_channels": 16,
            "param_scheduler.1.end": 12,
            "optim_wrapper.clip_grad.max_norm": 35,
            "randomness.seed": 3,
        },
    )
    assert config.model.neck.out_channels == 16
    assert [step.end for step in config.param_scheduler] == [3, 12]
    assert config.optim_wrapper.clip_grad.max_norm == 35
    assert config.randomness.seed == 3


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("modle.type", "no 'modle'; did you mean model"),
        ("model.nneck.x", "no 'nneck' there; did you mean neck?"),
        ("model.neck.out_chanels", "did you mean out_channels?"),
        ("param_scheduler.end", "'end' is in a list of 2"),
        ("param_scheduler.2.end", "'2' is in a list of 2"),
        ("qqq", "no 'qqq'"),
    ],
)
def test_keys_that_nothing_would_read_are_refused(path, key, says):
    with pytest.raises(UserError) as error:
        load_config(path, {key: 1})
    assert str(error.value).startswith(f"--cfg-options {key}: ")
    assert says in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"optim_wrapper.dtype": "bfloat16", "optim_wrapper.type": "AmpOptimWrapper"},
        {"optim_wrapper.dtype": "bfloat16"},  # for tools/train.py --amp
        {"optim_wrapper.accumulative_count": 4, "optim_wrapper.type": Derived},
        {"train_pipeline.0.with_label": False},
    ],
)
def test_an_argument_of_the_entrys_class_is_no_slip(path, options):
    path.write_text(f"{CONTENT}{TYPED}")
    config = load_config(path, options)
    assert all(config.get(key.split(".")[0]) for key in options)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("optim_wrapper.typ", "type"),
        ("optim_wrapper.optimizer.typee", "type"),
        ("test_cfg.score_thr2", "score_thr"),
        ("train_pipeline.0.with_labels_3d", "with_label_3d"),
        ("custom_hooks.0.type2", "type"),
    ],
)
def test_what_the_entrys_class_does_not_take_is_a_slip(path, key, near):
    path.write_text(f"{CONTENT}{TYPED}")
    with pytest.raises(UserError, match=f"no '{key.split('.')[-1]}' there; did you mean {near}"):
        load_config(path, {key: 1})


def test_a_folder_is_called_so_with_a_config_that_lies_in_it(tmp_path):
    with pytest.raises(UserError) as empty:
        load_config(tmp_path)
    assert str(empty.value) == f"config {tmp_path}: is a folder; give a config file"
    for name in ("_base_/a.py", "det2d/c.py", "det2d/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(UserError) as error:
        load_config(tmp_path)
    assert str(error.value) == f"{empty.value}, such as {tmp_path / 'det2d/b.py'}"


def test_a_variable_of_the_file_is_warned_about(path):
    with pytest.warns(UserWarning, match="'width' is a variable of the config file"):
        config = load_config(path, {"width": 16})
    assert config.model.neck.out_channels == 8


def test_a_config_is_written_at_once_and_reads_back(path, tmp_path, monkeypatch):
    def too_slow(*_, **__):
        raise AssertionError("a run writes its config half a dozen times; made pretty, for seconds")

    monkeypatch.setattr(mmengine_config, "FormatCode", too_slow)
    config = load_config(path, {"randomness.seed": 3})
    config.dump(tmp_path / "written.py")
    assert Config.fromfile(tmp_path / "written.py").to_dict() == config.to_dict()


def test_a_work_dir_is_the_flag_the_configs_or_its_names(path):
    config = load_config(path)
    assert default_work_dir(config, path, "here") == "here"
    assert default_work_dir(config, path, None) == "work_dirs/student"
    assert default_work_dir(config, "mmdet::a/b.py", None) == "work_dirs/b"
    config.work_dir = "there"
    assert default_work_dir(config, path, None) == "there"


def test_missing_entries_are_named_together(path):
    config = load_config(path)
    require_entries(config, ["model"], path)
    with pytest.raises(UserError, match="it has no train_cfg, test_cfg;"):
        require_entries(config, ["train_cfg", "model", "test_cfg"], path)


def test_options_are_pairs():
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--cfg-options", nargs="+", action=Options)
    read = parser.parse_args(["--cfg-options", "a.b=1", "c=[1,2]"])
    assert read.cfg_options == {"a.b": 1, "c": [1, 2]}
    spaced = ["a=my disk/x.pth", "b=' 0.5 '", "c=[(1, 2), 'd']"]
    read = parser.parse_args(["--cfg-options", *spaced])
    assert read.cfg_options == {"a": "my disk/x.pth", "b": 0.5, "c": [(1, 2), "d"]}
    for wrong in ("a.b", "c=[1,(2]"):
        with pytest.raises(argparse.ArgumentError, match="expected key=value"):
            parser.parse_args(["--cfg-options", wrong])


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        ({"metainfo": {"classes": ("car", "bus")}}, ["car", "bus"]),
        ({"type": "CBGSDataset", "dataset": {"metainfo": {"classes": ["car"]}}}, ["car"]),
        ({"datasets": [{}, {"dataset": {"metainfo": {"classes": ["car"]}}}]}, ["car"]),
        ({"metainfo": {"classes": "classes.txt"}}, ["tested"]),
        ({}, ["tested"]),
    ],
)
def test_class_names_are_those_of_the_first_data_that_lists_them(dataset, names):
    tested = {"dataset": {"metainfo": {"classes": ("tested",)}}}
    config = Config({"train_dataloader": {"dataset": dataset}, "test_dataloader": tested})
    assert class_names(config) == names
    assert class_names(config, ["val_dataloader"]) == []
    assert class_names(config, ["test_dataloader"]) == ["tested"]
