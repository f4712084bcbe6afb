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
