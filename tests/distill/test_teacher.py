"""A teacher's checkpoint is read as MMEngine reads it, whatever version wrote it."""

from collections import OrderedDict

import mmdet3d.models  # noqa: F401  (here, because it takes seconds)
import pytest
import torch
import toys3d
from mmengine.config import Config
from mmengine.model import PretrainedInit
from torch import nn

from kd3d.distill.teacher import build_teacher_model, drop_pretrained
from kd3d.errors import UserError


def voxel_weights():
    """Of a teacher of sparse convolutions, every value moved as training would."""
    model = toys3d.built(toys3d.voxel_centerpoint(), seed=1)
    for parameter in model.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    return model.state_dict()


def in_layout_of_spconv1(state):
    """Kernels (depth, rows, columns, in, out), as mmcv's own operators have them, no versions."""
    return OrderedDict(
        (key, value.permute(1, 2, 3, 4, 0).contiguous() if value.ndim == 5 else value)
        for key, value in state.items()
    )


def built_teacher(state, path):
    torch.save({"state_dict": state}, path)
    config = Config({"default_scope": "mmdet3d", "model": toys3d.voxel_centerpoint()})
    return build_teacher_model(config, str(path), device=torch.device("cpu"))


@pytest.mark.parametrize("layout", ["spconv 1", "spconv 2", "spconv 2 under DDP"])
def test_a_voxel_teacher_is_read_in_either_layout_of_its_kernels(tmp_path, layout):
    state = voxel_weights()
    saved = in_layout_of_spconv1(state) if layout == "spconv 1" else state
    if layout.endswith("DDP"):
        wrapper = nn.Module()
        wrapper.module = toys3d.built(toys3d.voxel_centerpoint())
        wrapper.module.load_state_dict(state)
        saved = wrapper.state_dict()
    loaded = built_teacher(saved, tmp_path / "t.pth").state_dict()
    assert sum(value.ndim == 5 for value in state.values()) > 5
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_a_kernel_that_fits_in_no_layout_is_named(tmp_path):
    state = in_layout_of_spconv1(voxel_weights())
    key = "pts_middle_encoder.conv_input.0.weight"
    assert state[key].shape == (3, 3, 3, 5, 4)
    state[key] = state[key].repeat(1, 1, 1, 1, 2)
    with pytest.raises(UserError) as refused:
        built_teacher(state, tmp_path / "t.pth")
    text = str(refused.value)
    assert text.startswith(f"teacher checkpoint {tmp_path / 't.pth'} does not fit CenterPoint")
    assert f"shape: {key} is (8, 3, 3, 3, 5), expected (4, 3, 3, 3, 5); give the" in text


@pytest.mark.parametrize("kind", ["Pretrained", "mmengine.Pretrained", PretrainedInit])
def test_pretrained_weights_are_dropped_however_they_are_named(kind):
    settings = {"backbone": {"init_cfg": {"type": kind, "checkpoint": "torchvision://resnet18"}}}
    drop_pretrained(settings)
    assert settings == {"backbone": {"init_cfg": None}}
