import pytest
import torch
from mmdet.models import DABDETR, TOOD, CascadeRCNN, TOODHead
from torch import nn

from kd3d.errors import UserError
from kd3d.export.networks.deployable import deployable

TWO_STAGE = "faster_rcnn"
FIXED_BATCH = {"faster_rcnn", "detr"}


def test_shapes_and_ranges(family, build):
    module = deployable(build(family)[0])
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        boxes, scores = module(images)[:2]
    positions = boxes.shape[1]
    assert positions == sum(module.level_sizes(images))
    assert boxes.shape == ((2, positions, 3, 4) if family == TWO_STAGE else (2, positions, 4))
    assert scores.shape == (2, positions, 3)
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_what_a_file_needs_to_know(family, build):
    module = deployable(build(family)[0], image_size=(60, 90))
    assert module.fixed_batch == (family in FIXED_BATCH)
    assert module.rows_free == (family == TWO_STAGE)
    assert module.image_size == ((60, 90) if family in FIXED_BATCH else None)
    assert bool(module.postprocessing.nms) == (family != "detr")


def test_level_sizes_of_retinanet(build):
    # strides 8 and 16 on 64 x 96, one anchor a cell
    module = deployable(build("retinanet")[0])
    assert module.level_sizes(torch.zeros(1, 3, 64, 96)) == (8 * 12, 4 * 6)


@pytest.mark.parametrize("family", sorted(FIXED_BATCH))
def test_an_image_larger_than_the_input_is_a_user_error(family, build):
    module = deployable(build(family)[0], image_size=(64, 97))
    with pytest.raises(
        UserError, match=r"image size 64x97 .* does not fit into the input of 64x96"
    ):
        module(torch.zeros(1, 3, 64, 96))


@pytest.mark.parametrize("kind", [CascadeRCNN, DABDETR, nn.Identity])
def test_other_detectors_are_refused_with_what_is_supported(kind):
    detector = kind.__new__(kind)
    nn.Module.__init__(detector)
    with pytest.raises(UserError, match=r"cannot export .*supported are .*RetinaHead.*DETR"):
        deployable(detector)


def test_a_head_that_cannot_be_decoded_is_refused_before_anything_runs():
    detector, head = TOOD.__new__(TOOD), TOODHead.__new__(TOODHead)
    nn.Module.__init__(detector)
    nn.Module.__init__(head)
    detector.bbox_head = head
    with pytest.raises(
        UserError, match="cannot export TOOD with a TOODHead; supported are single-"
    ):
        deployable(detector)
