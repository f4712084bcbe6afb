"""Connectors follow every learning-rate schedule exactly as their group does."""

import pytest
import toys
from mmengine.hooks import Hook
from mmengine.runner import Runner

import kd3d.distill  # noqa: F401  (registers the hook)


class Rates(Hook):
    """Notes learning rate, momentum and weight decay of all groups at each iteration."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.optimizer.param_groups  # the wrapper adds one for its log
        keys = ("lr", "momentum", "weight_decay")
        self.seen.append([[group.get(key) for key in keys] for group in groups])


WARMUP = {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 3}
SCHEDULES = {
    "step": [WARMUP, {"type": "MultiStepLR", "by_epoch": False, "milestones": [5, 8]}],
    "cosine": [
        WARMUP,
        {
            "type": "CosineAnnealingLR",
            "T_max": 9,
            "eta_min": 1e-4,
            "begin": 3,
            "end": 12,
            "by_epoch": False,
        },
    ],
    # computed from the base values, where the others go on from the last value
    "cosine restarts": [
        {
            "type": "CosineRestartLR",
            "periods": [4, 8],
            "restart_weights": [1.0, 0.5],
            "eta_min": 1e-5,
            "by_epoch": False,
        }
    ],
    "poly": [{"type": "PolyLR", "power": 0.9, "eta_min": 1e-5, "by_epoch": False}],
    "exponential": [{"type": "ExponentialLR", "gamma": 0.8, "by_epoch": False}],
    "one cycle": [{"type": "OneCycleLR", "eta_max": 0.1, "total_steps": 12, "by_epoch": False}],
    "momentum": [
        WARMUP,
        {"type": "CosineAnnealingMomentum", "T_max": 12, "eta_min": 0.5, "by_epoch": False},
    ],
    "by epoch": [{"type": "MultiStepLR", "by_epoch": True, "milestones": [1]}],
    "none": None,
}


def rates(tmp_path, *, batch_sampler=None, **changes):
    teacher = toys.teacher_config(tmp_path / "teacher.py", toys.retinanet(8, 16))
    hooks = [toys.distill_hook(teacher, [toys.neck_pair()])]
    config = toys.training(tmp_path, toys.retinanet(), hooks=hooks, **changes)
    config.train_dataloader.batch_sampler = batch_sampler
    runner = Runner.from_cfg(config)
    watch = Rates()
    runner.register_hook(watch)
    runner.train()
    return watch.seen, runner


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule(tmp_path, schedule):
    seen, runner = rates(tmp_path, iterations=12, param_scheduler=SCHEDULES[schedule])
    assert len(runner.optim_wrapper.param_groups) == 2
    assert len(seen) == 12
    for student, connector in seen:
        assert connector == student
    if schedule not in ("none", "by epoch"):
        assert len({student[0] for student, _ in seen} | {s[1] for s, _ in seen}) > 2


def test_with_multipliers_it_follows_the_group_that_has_none(tmp_path):
    paramwise = {
        "custom_keys": {"backbone": {"lr_mult": 0.1, "decay_mult": 0.0}},
        "bias_lr_mult": 2.0,
    }
    seen, runner = rates(
        tmp_path,
        iterations=10,
        optim_wrapper={
            "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4},
            "paramwise_cfg": paramwise,
        },
    )
    parameters = dict(runner.model.named_parameters())
    indices = {
        id(parameter): index
        for index, group in enumerate(runner.optim_wrapper.optimizer.param_groups)
        for parameter in group["params"]
    }
    plain = indices[id(parameters["neck.lateral_convs.0.conv.weight"])]
    slow = indices[id(parameters["backbone.conv1.weight"])]
    assert len(seen[0]) > len(parameters)
    for groups in seen:
        assert groups[-1] == groups[plain]
        assert groups[slow][0] == pytest.approx(0.1 * groups[-1][0])


@pytest.mark.parametrize("sampler", [None, {"type": "AspectRatioBatchSampler"}])
@pytest.mark.parametrize("schedule", ["step", "cosine restarts"])
def test_with_a_scaled_learning_rate(tmp_path, sampler, schedule):
    """Batches are drawn as most configs do, and as the stock ones of COCO do."""
    seen, runner = rates(
        tmp_path,
        iterations=4,
        batch_sampler=sampler,
        param_scheduler=SCHEDULES[schedule],
        auto_scale_lr={"enable": True, "base_batch_size": 4},
        optim_wrapper={
            "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4},
            "paramwise_cfg": {"custom_keys": {"backbone": {"lr_mult": 0.1}}},
        },
    )
    for slow, *_, student, connector in seen:
        assert connector == student
        assert slow[0] < 0.2 * student[0]
    *_, connector, base = runner.optim_wrapper.param_groups
    assert connector["initial_lr"] == 0.01 * 2 / 4
    assert base["initial_lr"] == 0.01
    for scheduler in runner.param_schedulers:
        assert scheduler.base_values[-2:] == [0.01 * 2 / 4, 0.01]


def test_with_a_scaled_learning_rate_of_one_group(tmp_path):
    seen, _ = rates(tmp_path, iterations=4, auto_scale_lr={"enable": True, "base_batch_size": 4})
    student, connector = seen[-1]
    assert connector == student
    assert student[0] == pytest.approx(0.01 * 2 / 4)
