"""tools/check.py: prints the pairs or the modules, trains nothing, and refuses mistakes."""

import pytest


@pytest.fixture(scope="module")
def config(tmp_path_factory, written):
    return written(tmp_path_factory.mktemp("toy"), distilled=True)


def test_the_pairs_are_printed_and_nothing_is_written(start, config):
    before = sorted(config.parent.rglob("*"))
    process = start("check.py", config)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    lines = [line.strip() for line in out.splitlines()]
    assert "DistillHook 'distill'" in lines
    assert "pair 'neck': FeatureL2, weight 1" in lines
    assert "student    neck [tensor (2, 8, 8, 8), tensor (2, 8, 4, 4)]" in lines
    assert "teacher    neck [tensor (2, 16, 8, 8), tensor (2, 16, 4, 4)]" in lines
    assert "pair 'response': DenseResponse, weight 1" in lines
    assert sum("% of the task's" in line for line in lines) == 2
    assert lines[-1] == "preflight passed"
    assert sorted(config.parent.rglob("*")) == before


def test_the_same_seed_says_the_same(run, config):
    one, again, other = (
        run("check.py", config, *flags).stdout for flags in ([], [], ["--seed", 1])
    )
    assert "of the task's" in one
    assert one == again != other


def test_modules_are_listed_for_student_and_teacher(run, config):
    done = run("check.py", config, "--modules")
    assert done.returncode == 0
    student, teacher = done.stdout.split("teacher of distill:")
    assert "student:" in student
    for part, width in ((student, 8), (teacher, 16)):
        necks = [line for line in part.splitlines() if line.split()[:1] == ["neck"]]
        assert len(necks) == 1
        assert f"[tensor (2, {width}, 8, 8), tensor (2, {width}, 4, 4)]" in necks[0]
        assert "bbox_head.retina_cls" in part


def test_modules_of_a_plain_config(run, written, tmp_path):
    path = _with_hooks(written(tmp_path), tmp_path, "[dict(type='CheckInvalidLossHook')]")
    done = run("check.py", path, "--modules")
    assert done.returncode == 0
    assert "bbox_head.retina_cls" in done.stdout
    assert "teacher" not in done.stdout


def test_a_hook_may_be_named_with_its_scope(run, config):
    scoped = "custom_hooks.0.type=mmengine.DistillHook"
    done = run("check.py", config, "--modules", "--cfg-options", scoped)
    assert "teacher of distill:" in done.stdout


@pytest.mark.parametrize("hooks", ["[EMAHook]", "[None]", "dict(type='EMAHook')"])
@pytest.mark.parametrize("flags", [[], ["--modules"]])
def test_custom_hooks_that_are_no_list_of_dicts(refused, config, tmp_path, flags, hooks):
    text = refused("check.py", _with_hooks(config, tmp_path, hooks), *flags)
    assert "custom_hooks is a list of dicts, [dict(type=...), ...]; got" in text


def _with_hooks(config, folder, hooks):
    path = folder / "hooks.py"
    path.write_text(f"EMAHook = 'EMAHook'\n{config.read_text()}\ncustom_hooks = {hooks}\n")
    return path


def test_modules_are_listed_where_the_hook_is_a_class(run, config):
    text = config.read_text()
    assert text.count("type='DistillHook'") == 1
    named = config.with_name("with_a_class.py")
    text = text.replace("type='DistillHook'", "type=DistillHook")
    named.write_text(f"from kd3d.distill.hook import DistillHook\n{text}")
    done = run("check.py", named, "--modules")
    assert (done.returncode, done.stdout.count("teacher of distill:")) == (0, 1)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("custom_hooks.0.teacher=random", "teacher needs config and checkpoint"),
        ("custom_hooks.0.pairs.0.student=nek", "no module 'nek' (tap 'nek'); did you mean 'neck'?"),
        ("custom_hooks.0.pairs.0.weigth=2", "pair 'neck': unknown ['weigth']"),
        ("custom_hooks.0.pairs.1.name=neck", "pair names must be unique"),
        ("custom_hooks=[]", "no DistillHook"),
        ("train_dataloader=None", "it has no train_dataloader"),
        ("model.neck.type=FPNN", "did you mean 'FPN'"),
    ],
)
def test_mistakes(refused, config, option, says):
    assert says in refused("check.py", config, "--cfg-options", option)


def test_a_wrong_path(refused, config):
    text = refused("check.py", config.with_name("distiled.py"))
    assert text.endswith(f"no such file; did you mean {config}?")
