import math

import torch
import toys
import toys3d
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn

from kd3d.distill.truth import Truth, has_strangers, is_labelled
from kd3d.registry import LOSSES

CPU = torch.device("cpu")


def lidar(boxes, labels, **metainfo):
    sample = Det3DDataSample(metainfo=metainfo)
    tensor = torch.tensor(boxes).reshape(len(labels), -1)
    instances = InstanceData()
    instances.bboxes_3d = LiDARInstance3DBoxes(tensor, box_dim=tensor.shape[1] or 7)
    instances.labels_3d = torch.tensor(labels)
    sample.gt_instances_3d = instances
    return sample


def test_seven_columns_stand_still_and_an_unknown_velocity_is_zero():
    box = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5]
    truth = Truth.of([lidar([box], [2]), lidar([[*box, math.nan, 7.0]], [1])], CPU)
    assert truth.boxes[0].tolist() == [[*box, 0.0, 0.0]]
    assert truth.boxes[1].tolist() == [[*box, 0.0, 7.0]]
    assert [labels.tolist() for labels in truth.labels] == [[2], [1]]
    assert truth.labelled.tolist() == [True, True]


def test_an_unlabelled_frame_says_so_and_is_empty():
    empty = Det3DDataSample(metainfo={"labelled": False})
    empty.gt_instances_3d = InstanceData(labels_3d=torch.zeros(0, dtype=torch.int64))
    truth = Truth.of([empty], CPU)
    assert truth.boxes[0].shape == (0, 9)
    assert truth.labelled.tolist() == [False]
    assert truth.unknown == (0,)
    assert not is_labelled(empty)


def test_the_teachers_boxes_count_in_frames_without_labels_alone():
    box, other = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5], [9.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5]
    bare = Det3DDataSample(metainfo={"labelled": False})
    bare.gt_instances_3d = InstanceData(labels_3d=torch.zeros(0, dtype=torch.int64))
    samples = [lidar([box], [2]), bare, bare]
    taught = [lidar([box, other], [2, 1]), lidar([other], [1], labelled=True), bare]
    truth = Truth.of(samples, CPU, taught=taught)
    assert [boxes[:, 0].tolist() for boxes in truth.boxes] == [[1.0], [9.0], []]
    assert [labels.tolist() for labels in truth.labels] == [[2], [1], []]
    assert truth.labelled.tolist() == [True, False, False]
    assert truth.unknown == (2,)
    known = truth.of_known()
    assert [boxes[:, 0].tolist() for boxes in known.boxes] == [[1.0], [9.0]]
    assert known.labelled.tolist() == [True, False]
    assert known.unknown == ()


def test_images_have_corners_in_pixels():
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes

    corners = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    samples = []
    for boxes in (corners, HorizontalBoxes(corners)):
        sample = DetDataSample()
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0]))
        samples.append(sample)
    truth = Truth.of(samples, CPU)
    assert torch.equal(truth.boxes[0], corners)
    assert torch.equal(truth.boxes[1], corners)


def test_objects_of_classes_that_the_model_does_not_know_are_passed_over():
    near, far = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5], [9.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5]
    samples = [lidar([near, far], [-1, 0]), lidar([near], [-1])]
    truth = Truth.of(samples, CPU)
    assert [boxes[:, 0].tolist() for boxes in truth.boxes] == [[9.0], []]
    assert [labels.tolist() for labels in truth.labels] == [[0], []]
    everything = Truth.of(samples, CPU, strangers=True)
    assert [labels.tolist() for labels in everything.labels] == [[-1, 0], [-1]]
    assert has_strangers({"data_samples": samples})
    assert not has_strangers({"data_samples": [lidar([near], [0])]})


def test_a_batch_without_objects_has_no_strangers():
    """Segmentation packs instances that hold nothing; images have none in 3D."""
    bare = Det3DDataSample()
    bare.gt_instances_3d = InstanceData()
    assert not has_strangers({"data_samples": [bare, Det3DDataSample()]})
    assert not has_strangers(None)


@LOSSES.register_module(force=True)
class LowestLabel(nn.Module):
    """Keeps the lowest label that it was told of."""

    needs_boxes = True
    seen: list = []  # noqa: RUF012

    def forward(self, student, teacher, *, boxes, labels):
        self.seen.append(min(int(frame.min()) for frame in labels if len(frame)))
        assert [len(frame) for frame in boxes] == [len(frame) for frame in labels]
        return student.square().mean()


def test_a_training_on_some_of_the_classes_tells_losses_of_no_other(tmp_path):
    """What the data set labels -1 is not seen in any step; the second class is numbered 0."""
    LowestLabel.seen.clear()
    tasks = (("truck",),)
    teacher = toys3d.teacher_config(tmp_path / "teacher.py", toys3d.centerpoint(8, tasks=tasks))
    pair = {"name": "bev", "student": "pts_neck[0]", "teacher": "pts_neck[0]"}
    hook = toys.distill_hook(teacher, [{**pair, "loss": {"type": "LowestLabel"}}])
    config = toys3d.training(tmp_path, toys3d.centerpoint(tasks=tasks), hooks=[hook], batch=8)
    config.train_dataloader.dataset.metainfo = {"classes": ("truck",)}
    runner = Runner.from_cfg(config)
    frames = [
        frame["data_samples"].gt_instances_3d.labels_3d for frame in runner.train_dataloader.dataset
    ]
    assert torch.cat(frames).unique().tolist() == [-1, 0]
    runner.train()
    assert LowestLabel.seen == [0, 0, 0]  # preflight and two steps
