"""LiDAR configs with all their layers on a part of their range: one real step with the teacher."""

from pathlib import Path
from typing import Any
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from toys import Watch, WatchGradients

from kd3d.configs import load_config
from kd3d.distill.hook import DistillHook
from kd3d.distill.teacher import drop_pretrained


def crop(node: Any, times: int) -> None:
    """Makes a model's range ``times`` smaller in x and y, in place; its layers stay.

    A step costs by the square of the range, and these detectors see 512 pillars each way.
    """
    if isinstance(node, list | tuple):
        for item in node:
            crop(item, times)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key in ("point_cloud_range", "pc_range"):
            node[key] = _nearer(value, times)
        elif key == "ranges":  # of anchors
            node[key] = [_nearer(each, times) for each in value]
        elif key in ("output_shape", "grid_size", "sparse_shape"):  # heights are below 64
            node[key] = [cells // times if cells > 64 else cells for cells in value]
        else:
            crop(value, times)


def _nearer(extent: list[float], times: int) -> list[float]:
    heights = (2, 5)
    return [v if place in heights else v / times for place, v in enumerate(extent)]


# Written out six times a run; yapf would take most of the test's seconds to format that.
unformatted = mock.patch("mmengine.config.config.FormatCode", lambda text, **_: (text, True))


@unformatted
def on_one_batch(
    path: Path, dataset: dict[str, Any], work_dir: Path, *, student: int, teacher: int
) -> Config:
    """The config on one batch of ``dataset``, with both ranges so many times smaller."""
    config = load_config(path)
    drop_pretrained(config.model)
    crop(config.model, student)
    for hook in config.custom_hooks:
        if hook["type"] == "DistillHook":
            smaller = load_config(hook["teacher"]["config"])
            crop(smaller.model, teacher)
            smaller.dump(work_dir / "teacher.py")
            hook["teacher"] = {"config": str(work_dir / "teacher.py"), "checkpoint": "random"}
    config.train_dataloader = {
        "batch_size": 1,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "dataset": dataset,
    }
    config.train_cfg = {"type": "EpochBasedTrainLoop", "max_epochs": 1}
    for split in ("val", "test"):
        for part in ("dataloader", "cfg", "evaluator"):
            config[f"{split}_{part}"] = None
    config.default_hooks.checkpoint = {"type": "CheckpointHook", "interval": 10}
    config.randomness = {"seed": 0}
    config.work_dir = str(work_dir)
    config.log_level = "ERROR"
    return config


@unformatted
def train_one_step(config: Config) -> tuple[dict[str, Any], DistillHook, set[str]]:
    """The losses of the step, the hook that distilled, and parameters that a gradient reached."""
    losses, hooks, reached = _train(config)
    (hook,) = hooks
    return losses, hook, reached


def _train(config: Config) -> tuple[dict[str, Any], list[DistillHook], set[str]]:
    runner = Runner.from_cfg(config)
    seen, gradients = [], WatchGradients()
    runner.register_hook(Watch(lambda runner, outputs: seen.append(outputs)))
    runner.register_hook(gradients)
    runner.train()
    (losses,) = seen
    return losses, [h for h in runner.hooks if isinstance(h, DistillHook)], gradients.reached


def every_pair_teaches(config: Config, prefix: str = "pts_") -> None:
    """Asserts that each pair of a step has a loss and a share, and that all parts learn."""
    wanted = [pair["name"] for pair in config.custom_hooks[-1]["pairs"]]
    losses, hook, reached = train_one_step(config)
    assert [report.name for report in hook.reports] == wanted
    for report in hook.reports:
        assert torch.isfinite(losses[f"loss_{report.name}"])
        assert losses[f"loss_{report.name}"] > 0
        assert report.gradient_share > 0
    _all_parts_learn(losses, reached, prefix)


@unformatted
def learns_alone(config: Config, prefix: str = "pts_") -> None:
    """Asserts that a step without a teacher has a loss, and that all parts learn."""
    losses, hooks, reached = _train(config)
    assert not hooks
    _all_parts_learn(losses, reached, prefix)


def _all_parts_learn(losses: dict[str, Any], reached: set[str], prefix: str) -> None:
    assert torch.isfinite(losses["loss"])
    for part in ("voxel_encoder", "backbone", "neck", "bbox_head"):
        assert any(name.startswith(prefix + part) for name in reached)
