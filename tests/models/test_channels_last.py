import torch
import toys3d
from mmengine.runner import Runner

from kd3d.models import ChannelsLastHook

HOOK = {"type": ChannelsLastHook.__name__}


def trained(folder, hooks):
    runner = Runner.from_cfg(toys3d.training(folder, toys3d.centerpoint(), hooks=hooks))
    runner.train()
    return runner


def test_weights_change_their_layout_and_nothing_else(tmp_path):
    plain, changed = trained(tmp_path / "plain", []), trained(tmp_path / "changed", [HOOK])
    weight = "pts_backbone.blocks.0.0.weight"
    layouts = [
        run.model.get_parameter(weight).is_contiguous(memory_format=torch.channels_last)
        for run in (plain, changed)
    ]
    assert layouts == [False, True]
    first, second = plain.model.state_dict(), changed.model.state_dict()
    assert list(first) == list(second)
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=1e-3, atol=1e-5)


def test_the_optimizer_steps_on_the_same_parameters(tmp_path):
    runner = trained(tmp_path, [HOOK])
    stepped = {
        id(value) for group in runner.optim_wrapper.param_groups for value in group["params"]
    }
    assert stepped == {id(value) for value in runner.model.parameters()}
