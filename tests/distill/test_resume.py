"""Stop anywhere, resume, and nothing differs from the run that was not stopped."""

import pytest
import torch
import toys
from mmcv.transforms import TRANSFORMS, BaseTransform
from mmengine.runner import Runner

import kd3d.distill  # noqa: F401  (registers the hook)
from kd3d.checkpoints import use_safe_loading
from kd3d.errors import UserError

EPOCHS = {
    "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 3, "val_interval": 1},
    "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}},
    "param_scheduler": [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 3},
        {"type": "MultiStepLR", "by_epoch": True, "milestones": [2], "gamma": 0.1},
    ],
}
ITERATIONS = {
    "iterations": 8,
    "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False}},
}


class Stopped(Exception):  # noqa: N818  (a signal)
    pass


@pytest.fixture(autouse=True)
def _safe_loading():
    use_safe_loading()


def config(folder, **changes):
    """A student with dropout, so that torch's generator matters, and a schedule with a stop."""
    model = toys.retinanet()
    model["bbox_head"]["init_cfg"] = None
    model["neck"] = [model["neck"], {"type": "ToyDropout"}]
    teacher = toys.teacher_config(folder / "teacher.py", toys.retinanet(8, 16))
    weight = {"start": 1.0, "end": 0.1, "shape": "cosine", "warmup": 0.2, "stop": 0.8}
    hook = toys.distill_hook(teacher, [toys.neck_pair(weight=weight, student="neck.0")])
    made = toys.training(folder, model, hooks=[{"type": "EMAHook"}, hook], **changes)
    if changes.get("validates"):
        made.val_dataloader = made.test_dataloader
        made.val_evaluator = made.test_evaluator
        made.val_cfg = {"type": "ValLoop"}
    return made


def run(cfg, *, stop_after=None):
    def look(runner, outputs):
        if runner.iter + 1 == stop_after:
            raise Stopped

    runner = Runner.from_cfg(cfg)
    runner.register_hook(toys.Watch(look), priority="LOWEST")
    if stop_after is None:
        runner.train()
    else:
        with pytest.raises(Stopped):
            runner.train()
    return runner


def everything(runner):
    """Weights, EMA, connectors, optimizer and schedules after a run."""
    pairs = toys.distilling(runner)._distiller.pairs
    ema = next(hook for hook in runner.hooks if type(hook).__name__ == "EMAHook")
    return {
        "weights": dict(runner.model.state_dict()),
        "ema": dict(ema.ema_model.state_dict()),
        "connectors": dict(pairs[0].connectors.state_dict()),
        "optimizer": runner.optim_wrapper.state_dict(),
        "schedules": [s.state_dict() for s in runner.param_schedulers],
        "iteration": runner.iter,
    }


def assert_equal(one, other, where=""):
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{where}[{index}]")
    else:
        assert one == other, where


@pytest.mark.parametrize("stop_after", [1, 3, 6, 7])
def test_iteration_based_at_any_iteration(tmp_path, stop_after):
    """1 is within both warm-ups, 6 the last with a teacher, 7 after the stop."""
    whole = run(config(tmp_path / "whole", **ITERATIONS))
    run(config(tmp_path / "parts", **ITERATIONS), stop_after=stop_after)
    resumed = run(config(tmp_path / "parts", **ITERATIONS, resume=True))
    assert_equal(everything(whole), everything(resumed))


@TRANSFORMS.register_module()
class TorchNoise(BaseTransform):
    """Draws from torch's generator, as mmdet3d's PointShuffle does."""

    def transform(self, results):
        noise = torch.randint(0, 50, (*results["img"].shape[:2], 1), dtype=torch.uint8)
        results["img"] = results["img"] // 2 + noise.numpy()
        return results


def test_transforms_that_draw_from_torchs_generator(tmp_path):
    def noisy(folder, **changes):
        made = config(tmp_path / folder, **ITERATIONS, **changes)
        made.train_dataloader.dataset.pipeline.insert(1, {"type": "TorchNoise"})
        return made

    whole = run(noisy("whole"))
    run(noisy("parts"), stop_after=3)
    resumed = run(noisy("parts", resume=True))
    assert_equal(everything(whole), everything(resumed))


@pytest.mark.parametrize("stop_after", [4, 8])
def test_with_validation_in_between(tmp_path, stop_after):
    changes = {
        **ITERATIONS,
        "validates": True,
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 10, "val_interval": 4},
    }
    whole = run(config(tmp_path / "whole", **changes))
    run(config(tmp_path / "parts", **changes), stop_after=stop_after)
    resumed = run(config(tmp_path / "parts", **changes, resume=True))
    assert_equal(everything(whole), everything(resumed))


def test_epoch_based_at_the_end_of_an_epoch(tmp_path):
    changes = {**EPOCHS, "validates": True}
    sampler = {"type": "DefaultSampler", "shuffle": True}
    configs = {name: config(tmp_path / name, **changes) for name in ("whole", "parts", "again")}
    configs["again"] = config(tmp_path / "parts", **changes, resume=True)
    for cfg in configs.values():
        cfg.train_dataloader.sampler = sampler
        cfg.log_processor = {"by_epoch": True}
    whole = run(configs["whole"])
    run(configs["parts"], stop_after=6)  # inside the second epoch of four iterations
    resumed = run(configs["again"])
    assert_equal(everything(whole), everything(resumed))


def test_the_comparison_can_fail(tmp_path):
    whole = run(config(tmp_path / "whole", **ITERATIONS))
    other = run(config(tmp_path / "other", **ITERATIONS, seed=1))
    with pytest.raises(AssertionError):
        assert_equal(everything(whole), everything(other))


def test_a_checkpoint_of_a_run_without_distillation_is_refused(tmp_path):
    plain = config(tmp_path, **ITERATIONS)
    plain.custom_hooks = [{"type": "EMAHook"}]
    run(plain)
    with pytest.raises(UserError, match="holds no state of DistillHook 'distill'"):
        run(config(tmp_path, **ITERATIONS, resume=True))


def test_a_checkpoint_with_other_pairs_is_refused(tmp_path):
    run(config(tmp_path, **ITERATIONS), stop_after=2)
    other = config(tmp_path, **ITERATIONS, resume=True)
    other.custom_hooks[1]["pairs"][0]["name"] = "renamed"
    with pytest.raises(UserError, match="resume with the config that started the run"):
        run(other)
