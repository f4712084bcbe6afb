import math

import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from kd3d.distill.truth import Truth, is_labelled

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
    assert not is_labelled(empty)


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
