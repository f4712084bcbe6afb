import pytest
import torch

from kd3d.datasets.made_up_frames import MadeUpFrames

EXTENT = [-10.0, -20.0, -3.0, 10.0, 20.0, 1.0]


def test_images_hold_boxes_of_every_kind_asked_for():
    frames = MadeUpFrames(3)
    assert len(frames) == 2
    frame = frames[0]
    assert frame["inputs"].dtype == torch.uint8
    objects = frame["data_samples"].gt_instances
    assert len(objects) == 4
    assert int(objects.labels.max()) < 3
    assert bool((objects.bboxes[:, 2:] > objects.bboxes[:, :2]).all())


@pytest.mark.parametrize(("velocity", "values"), [(False, 7), (True, 9)])
def test_points_and_boxes_lie_in_the_range(velocity, values):
    frame = MadeUpFrames(2, extent=EXTENT, point_features=5, velocity=velocity)[1]
    points = frame["inputs"]["points"]
    low, high = torch.tensor(EXTENT[:3]), torch.tensor(EXTENT[3:])
    assert points.shape[1] == 5
    assert bool(((points[:, :3] >= low) & (points[:, :3] <= high)).all())
    boxes = frame["data_samples"].gt_instances_3d.bboxes_3d
    assert boxes.tensor.shape[1] == values
    assert bool(((boxes.tensor[:, :3] > low) & (boxes.tensor[:, :3] < high)).all())


def test_a_frame_comes_again():
    frames = MadeUpFrames(3)
    assert bool((frames[0]["inputs"] == frames[0]["inputs"]).all())
    assert bool((frames[0]["inputs"] != frames[1]["inputs"]).any())
