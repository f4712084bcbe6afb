import pytest
import torch
from mmdet.models import FasterRCNN
from torch import nn

from kd3d.errors import UserError
from kd3d.export.deployable import deployable


def test_shapes_and_ranges(family, build):
    module = deployable(build(family)[0])
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        boxes, scores = module(images)[:2]
    positions = boxes.shape[1]
    assert positions == sum(module.level_sizes(images))
    assert boxes.shape == (2, positions, 4)
    assert scores.shape == (2, positions, 3)
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_level_sizes_of_retinanet(build):
    # strides 8 and 16 on 64 x 96, one anchor a cell
    module = deployable(build("retinanet")[0])
    assert module.level_sizes(torch.zeros(1, 3, 64, 96)) == (8 * 12, 4 * 6)


@pytest.mark.parametrize("detector", [FasterRCNN.__new__(FasterRCNN), nn.Identity()])
def test_other_detectors_are_refused_with_what_is_supported(detector):
    if isinstance(detector, FasterRCNN):
        nn.Module.__init__(detector)
    with pytest.raises(UserError, match=r"cannot export .*supported are .*RetinaHead"):
        deployable(detector)
