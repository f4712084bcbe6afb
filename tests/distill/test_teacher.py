"""A teacher's checkpoint is read as MMEngine reads it, whatever version wrote it."""

import random
from collections import OrderedDict

import mmdet3d.models  # noqa: F401  (here, because it takes seconds)
import pytest
import torch
import toys3d
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import PretrainedInit
from torch import nn

from kd3d.distill.recorder import Tap
from kd3d.distill.teacher import Teacher, build_teacher_model, drop_pretrained
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


class OneHead(nn.Module):
    """A detector of a head alone, whose loss wants what only training gives it."""

    def __init__(self, head):
        super().__init__()
        self.bbox_head = MODELS.build(head)
        self.dropout = nn.Dropout()

    def forward(self, inputs, samples, mode):
        levels = (inputs, self.dropout(inputs)[..., ::2, ::2])
        return self.loss(*self.bbox_head(levels))

    def loss(self, scores, boxes, *, enc_outputs_coord=None):
        return enc_outputs_coord["of training"]


FCOS = {
    "type": "FCOSHead",
    "num_classes": 1,
    "in_channels": 4,
    "feat_channels": 4,
    "stacked_convs": 1,
    "strides": [8, 16],
    "regress_ranges": ((-1, 64), (64, 1e8)),
    "norm_on_bbox": True,
    "norm_cfg": None,
}


def test_a_teachers_head_answers_as_it_does_in_training():
    torch.manual_seed(0)
    model, images = OneHead(FCOS), torch.rand(1, 4, 8, 8)
    levels = (images, images[..., ::2, ::2])
    in_training = model.bbox_head.train()(levels)[1]
    in_eval_mode = model.bbox_head.eval()(levels)[1]
    assert torch.allclose(in_eval_mode[0], 8 * in_training[0])  # pixels, not strides
    tap = Tap.parse("bbox_head[1]")
    read = Teacher(model, [tap]).features(images, [])[tap]
    assert all(torch.equal(a, b) for a, b in zip(read, in_training, strict=True))
    assert [name for name, module in model.named_modules() if module.training] == ["bbox_head"]


def test_the_student_draws_the_numbers_that_a_teacher_drew():
    """Of Panoptic FPN the semantic head comes after anchors and regions have been sampled."""

    class Draws(OneHead):
        def forward(self, inputs, samples, mode):
            drawn.append((torch.rand(3).tolist(), random.random()))
            super().forward(inputs, samples, mode)

    drawn = []
    teacher = Teacher(Draws(FCOS), [Tap.parse("bbox_head[1]")])
    for _ in range(2):  # also where its forward stops at the last tap
        teacher.features(torch.rand(1, 4, 8, 8), [])
        assert (torch.rand(3).tolist(), random.random()) == drawn.pop()


def test_a_forward_that_ends_before_a_tap_says_with_what():
    class EndsEarly(OneHead):
        def forward(self, inputs, samples, mode):
            self.loss(inputs, inputs)

    teacher = Teacher(EndsEarly(FCOS), [Tap.parse("bbox_head[1]")])
    with pytest.raises(UserError) as refused:
        teacher.features(torch.rand(1, 4, 8, 8), [])
    assert str(refused.value).startswith(
        "teacher tap 'bbox_head[1]' was never reached: the frozen EndsEarly ended before it "
        "(TypeError: 'NoneType' object is not subscriptable); tap a module"
    )


def test_a_detector_whose_eval_returns_nothing_can_teach(tmp_path):
    """As mmdet's LD and LAD, which hide a teacher of their own from train()."""

    class ReturnsNothing(OneHead):
        def train(self, mode=True):
            super().train(mode)

    teacher = Teacher(ReturnsNothing(FCOS), [Tap.parse("bbox_head")])
    assert not teacher.model.training
