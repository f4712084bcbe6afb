import copy

import pytest
import torch
from mmdet.structures import DetDataSample

from kd3d.errors import UserError
from kd3d.export.detections.final_boxes import final_boxes
from kd3d.export.detector import build_detector
from kd3d.export.networks.deployable import deployable


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))


def sample(height, width):
    meta = {"img_shape": (height, width), "scale_factor": (1.0, 1.0)}
    return DetDataSample(metainfo={**meta, "batch_input_shape": (64, 96)})


def test_proposals_are_mmdets_own(build, images):
    detector, _ = build("faster_rcnn")
    network = deployable(detector, image_size=(60, 90))._network
    with torch.no_grad():
        features = detector.extract_feat(images)
        found = network._first_stage(features, (64, 96))
        expected = detector.rpn_head.predict(features, [sample(60, 90)] * 2, rescale=False)
    for image in range(2):
        count = len(expected[image].scores)
        assert count == 60
        torch.testing.assert_close(found.scores[image, :count], expected[image].scores)
        torch.testing.assert_close(found.boxes[image, :count], expected[image].bboxes)


def test_missing_proposals_never_become_detections(build, images):
    detector = copy.deepcopy(build("faster_rcnn")[0])
    detector.rpn_head.test_cfg.min_bbox_size = 20  # few are that wide and high
    module = deployable(detector)
    with torch.no_grad():
        boxes, scores = module(images)
        exist = module._network._first_stage(detector.extract_feat(images), (64, 96)).scores > 0
        expected = detector.predict(images, [sample(64, 96) for _ in range(2)])
    assert 0 < exist[0].sum() < 60
    assert (scores.amax(-1) > 0).equal(exist)
    assert torch.isfinite(boxes).all()
    for image in range(2):
        found = final_boxes(
            boxes[image], scores[image], module.postprocessing, image_shape=(64, 96)
        )
        torch.testing.assert_close(found.scores, expected[image].pred_instances.scores)


def test_one_box_for_all_classes(build, images):
    _, cfg = build("faster_rcnn")
    cfg = copy.deepcopy(cfg)
    cfg.model.roi_head.bbox_head.reg_class_agnostic = True
    torch.manual_seed(0)
    detector = build_detector(cfg)
    module = deployable(detector)
    with torch.no_grad():
        boxes, scores = module(images)
        expected = detector.predict(images, [sample(64, 96) for _ in range(2)])
    assert boxes.shape == (2, 60, 4)
    for image in range(2):
        found = final_boxes(
            boxes[image], scores[image], module.postprocessing, image_shape=(64, 96)
        )
        theirs = expected[image].pred_instances
        assert len(found.labels) == len(theirs.labels) > 5
        torch.testing.assert_close(found.scores, theirs.scores)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"nms_pre": 3840}, "nms_pre=3840 and max_per_img=60; .* from 1 to 3839"),
        ({"nms_pre": -1}, "nms_pre=-1"),
        ({"max_per_img": 0}, "max_per_img=0"),
        ({"nms": {"type": "soft_nms", "iou_threshold": 0.7}}, "soft_nms.*expected a plain"),
    ],
)
def test_first_stage_settings_without_a_fixed_size_are_user_errors(build, change, text):
    detector = copy.deepcopy(build("faster_rcnn")[0])
    detector.rpn_head.test_cfg.update(change)
    with pytest.raises(UserError, match=text):
        deployable(detector)


def test_unknown_parts_are_named(build):
    detector = copy.deepcopy(build("faster_rcnn")[0])
    detector.roi_head.mask_head = torch.nn.Identity()
    with pytest.raises(UserError, match="cannot export FasterRCNN: roi_head has a mask head"):
        deployable(detector)
    detector = copy.deepcopy(build("faster_rcnn")[0])
    detector.roi_head.bbox_roi_extractor.roi_layers[0].pool_mode = "max"
    with pytest.raises(UserError, match="not an averaging RoIAlign"):
        deployable(detector)
    detector = copy.deepcopy(build("faster_rcnn")[0])
    detector.rpn_head = torch.nn.Identity()
    with pytest.raises(UserError, match="rpn_head is Identity, not RPNHead"):
        deployable(detector)
