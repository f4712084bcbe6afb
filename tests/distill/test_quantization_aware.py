"""The hook in a real Runner: what it leaves alone, what it writes, and what it brings back."""

import pytest
import torch
import toys
from mmengine.runner import Runner
from torch import nn

import kd3d.distill  # noqa: F401  (registers the hook)
from kd3d.checkpoints import load_checkpoint, use_safe_loading
from kd3d.errors import UserError

SAVING = {
    "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False}}
}


class Stopped(Exception):  # noqa: N818  (a signal)
    pass


@pytest.fixture(autouse=True)
def _safe_loading():
    use_safe_loading()


def config(folder, *, ema=True, teacher=True, **changes):
    quantization = {"type": "QuantizationAwareHook", **changes.pop("quantization", {})}
    hooks = [{"type": "EMAHook"}] if ema else []
    hooks.append(quantization)
    if teacher:
        source = toys.teacher_config(folder / "teacher.py", toys.retinanet(8, 16))
        hooks.append(toys.distill_hook(source, [toys.neck_pair(), toys.response_pair()]))
    made = toys.training(folder, toys.retinanet(), hooks=hooks, **changes)
    made.val_dataloader = made.test_dataloader
    made.val_evaluator = made.test_evaluator
    made.val_cfg = {"type": "ValLoop"}
    return made


def run(cfg, look=None):
    runner = Runner.from_cfg(cfg)
    if look is not None:
        runner.register_hook(toys.Watch(look), priority="LOWEST")
    runner.train()
    return runner


def hook_of(runner):
    return next(h for h in runner.hooks if type(h).__name__ == "QuantizationAwareHook")


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key], other[key]), key


def test_switched_off_it_is_not_there(tmp_path):
    off = run(config(tmp_path / "off", quantization={"enabled": False}))
    plain = config(tmp_path / "plain")
    plain.custom_hooks = [h for h in plain.custom_hooks if h["type"] != "QuantizationAwareHook"]
    plain = run(plain)
    assert_same_weights(off.model.state_dict(), plain.model.state_dict())
    on = run(config(tmp_path / "on"))
    with pytest.raises(AssertionError):
        assert_same_weights(on.model.state_dict(), plain.model.state_dict())


def test_the_checkpoint_has_plain_keys_and_the_limits_beside_them(tmp_path):
    runner = run(config(tmp_path, quantization={"keep_float": ["backbone.conv1"]}))
    saved = load_checkpoint(tmp_path / "work" / "iter_4.pth")
    assert saved["state_dict"].keys() == runner.model.state_dict().keys()
    averaged = {k.removeprefix("module.") for k in saved["ema_state_dict"] if k != "steps"}
    assert averaged == set(runner.model.state_dict())
    state = saved["quantization"]
    assert state["keep_float"] == ["backbone.conv1"]
    kinds = (nn.Conv2d, nn.Linear)
    layers = [n for n, m in runner.model.named_modules() if isinstance(m, kinds)]
    assert list(state["limits"]) == [name for name in layers if name != "backbone.conv1"]
    calls = {name: len(limits) for name, limits in state["limits"].items()}
    assert calls["backbone.layer1.0.conv1"] == 1
    assert calls["bbox_head.retina_cls"] == 2  # one for each level
    assert all(bool((limits > 0).all()) for limits in state["limits"].values())


def test_after_training_no_hook_is_left(tmp_path):
    runner = run(config(tmp_path))
    ema = next(hook for hook in runner.hooks if type(hook).__name__ == "EMAHook")
    for model in (runner.model, ema.ema_model):
        for name, module in model.named_modules():
            assert not module._forward_hooks, name
            assert not module._forward_pre_hooks, name
            assert "weight" not in module.__dict__, name


def test_validation_sees_int8_and_the_averaged_weights(tmp_path):
    """EMAHook swaps the weights of the very modules that are quantised."""
    seen = []

    def watch(module, args, output):
        stored = module._parameters["weight"]
        seen.append((module.training, torch.equal(module.weight, stored), float(stored.sum())))

    runner = Runner.from_cfg(config(tmp_path, iterations=2))
    before_train = hook_of(runner).before_train

    def attach(runner):
        # before ours, so that it looks while the weight is hidden
        runner.model.backbone.conv1.register_forward_hook(watch)
        before_train(runner)

    hook_of(runner).before_train = attach
    runner.train()
    assert len(seen) == 2 + 4 + 1  # training, validation on 8 images by two, and preflight's copy
    assert [same for training, same, _ in seen if not training] == [False] * 4
    own = float(runner.model.backbone.conv1.weight.sum())
    assert all(total != own for training, _, total in seen if not training)


def test_batch_norm_stands_still_unless_told_otherwise(tmp_path):
    def statistics(runner):
        return {k: v for k, v in runner.model.state_dict().items() if "running" in k}

    still = statistics(run(config(tmp_path / "still", teacher=False, ema=False)))
    assert all(bool((v == (1.0 if "var" in k else 0.0)).all()) for k, v in still.items())
    moving = config(
        tmp_path / "moving", teacher=False, ema=False, quantization={"freeze_batch_norm": False}
    )
    moved = statistics(run(moving))
    assert all(bool((v != (1.0 if "var" in k else 0.0)).any()) for k, v in moved.items())


@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_run_is_the_run_that_was_not_stopped(tmp_path, stop_after):
    def stop(runner, outputs):
        if runner.iter + 1 == stop_after:
            raise Stopped

    whole = run(config(tmp_path / "whole", **SAVING))
    with pytest.raises(Stopped):
        run(config(tmp_path / "parts", **SAVING), stop)
    resumed = run(config(tmp_path / "parts", **SAVING, resume=True))
    assert_same_weights(whole.model.state_dict(), resumed.model.state_dict())
    assert_same_weights(hook_of(whole).layers.limits, hook_of(resumed).layers.limits)


def test_a_checkpoint_of_another_run_is_not_resumed(tmp_path):
    run(config(tmp_path, **SAVING, quantization={"enabled": False}))
    with pytest.raises(UserError, match="holds none of QuantizationAwareHook's states"):
        run(config(tmp_path, **SAVING, resume=True, iterations=6))
    run(config(tmp_path / "other", **SAVING))
    other = {"keep_float": ["backbone"]}
    with pytest.raises(UserError, match=r"one with keep_float=\[\]"):
        run(config(tmp_path / "other", **SAVING, resume=True, iterations=6, quantization=other))


def test_fp32_weights_to_begin_with_need_no_limits(tmp_path):
    first = config(tmp_path / "first", quantization={"enabled": False}, ema=False)
    run(first)
    start = str(tmp_path / "first" / "work" / "iter_4.pth")
    runner = run(config(tmp_path / "second", load_from=start, ema=False))
    assert hook_of(runner).layers.limits


def test_a_test_is_left_alone(tmp_path):
    """Its model may be an exported file, which has no layers."""
    wrong = {"keep_float": ["not looked for"]}
    runner = Runner.from_cfg(config(tmp_path, teacher=False, quantization=wrong))
    runner.test()
    assert not any(module._forward_pre_hooks for module in runner.model.modules())


def test_wrong_settings_end_the_run_before_it_trains(tmp_path):
    with pytest.raises(UserError, match="percentile is 0, expected above 0, up to 100"):
        Runner.from_cfg(config(tmp_path, quantization={"percentile": 0}))
    with pytest.raises(UserError, match="'bakbone', which is no module"):
        run(config(tmp_path, quantization={"keep_float": ["bakbone"]}))


def test_processes_share_their_limits(tmp_path, monkeypatch):
    """Two ranks of which the other has limits three times as large: the mean is twice ours."""
    runner = run(config(tmp_path, teacher=False, ema=False, iterations=1))
    hook = hook_of(runner)
    own = hook.layers.limits
    monkeypatch.setattr("kd3d.distill.quantization_aware.is_distributed", lambda: True)

    def mean(together, op):
        assert op == "mean"
        together.mul_(2)

    monkeypatch.setattr("kd3d.distill.quantization_aware.all_reduce", mean)
    hook.after_train_iter(runner, 0)
    assert_same_weights(hook.layers.limits, {name: 2 * limits for name, limits in own.items()})
