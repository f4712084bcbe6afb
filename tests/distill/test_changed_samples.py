"""Losses of mmdet3d's anchor heads replace the boxes in the data samples that they are given."""

from types import SimpleNamespace

import torch
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.structures import InstanceData
from torch import nn

from kd3d.distill.recorder import Tap
from kd3d.distill.teacher import Teacher
from kd3d.distill.truth import Truth

BOX = [1.0, 2.0, -1.0, 4.0, 2.0, 1.5, 0.3]


def sample():
    instances = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(torch.tensor([BOX])), labels_3d=torch.tensor([2])
    )
    return SimpleNamespace(gt_instances_3d=instances, metainfo={})


def spoil(samples):
    for each in samples:
        each.gt_instances_3d.bboxes_3d = each.gt_instances_3d.bboxes_3d.tensor


class SpoilingDetector(nn.Module):
    """Its loss comes after its neck and leaves bare tensors where boxes were."""

    def __init__(self):
        super().__init__()
        self.neck = nn.Identity()

    def forward(self, inputs, samples, mode):
        self.neck(inputs)
        spoil(samples)


def test_truth_is_the_same_after_an_anchor_heads_loss():
    one = sample()
    before = Truth.of([one], torch.device("cpu"))
    spoil([one])
    after = Truth.of([one], torch.device("cpu"))
    for truth in (before, after):
        assert torch.equal(truth.boxes[0], torch.tensor([[*BOX, 0.0, 0.0]]))  # no velocity known


def test_the_teachers_loss_does_not_reach_the_students_samples():
    one = sample()
    teacher = Teacher(SpoilingDetector(), [Tap.parse("neck")])
    for _ in range(2):  # the first forward goes on into the loss
        teacher.features(torch.zeros(1, 1), [one])
        assert isinstance(one.gt_instances_3d.bboxes_3d, LiDARInstance3DBoxes)
