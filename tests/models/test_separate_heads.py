import copy

import torch
import toys3d
from mmengine.runner import Runner

from kd3d.models.separate_heads import init_separate_heads, initialize


def biases(model):
    return [head.heatmap[-1].bias.detach() for head in model.pts_bbox_head.task_heads]


def test_the_bias_is_that_of_the_config_and_nothing_else_moves():
    model = toys3d.built(toys3d.centerpoint())
    model.init_weights()
    assert all(not torch.equal(bias, torch.full_like(bias, -2.19)) for bias in biases(model))
    before = copy.deepcopy(model.state_dict())
    assert init_separate_heads(model) == 2
    assert all(torch.equal(bias, torch.full_like(bias, -2.19)) for bias in biases(model))
    moved = [
        key for key, value in model.state_dict().items() if not torch.equal(value, before[key])
    ]
    assert moved == [f"pts_bbox_head.task_heads.{task}.heatmap.1.bias" for task in (0, 1)]


def test_initialize_does_both():
    model = toys3d.built(toys3d.centerpoint())
    initialize(model)
    assert torch.equal(biases(model)[0], torch.full((2,), -2.19))


def test_the_hook_acts_before_training_once(tmp_path):
    config = toys3d.training(
        tmp_path, toys3d.centerpoint(), hooks=[{"type": "InitSeparateHeads"}], iterations=1
    )
    runner = Runner.from_cfg(config)
    runner.train()
    after = [bias.clone() for bias in biases(runner.model)]
    assert not torch.equal(after[0], torch.full((2,), -2.19))  # one step has moved it
    runner.call_hook("before_run")  # as runner.test() does
    assert all(torch.equal(a, b) for a, b in zip(after, biases(runner.model), strict=True))
