"""Our decoding equals that of mmdet's own heads, in eval and in train mode."""

import math

import mmdet.models  # noqa: F401  (registers the heads)
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope

from kd3d.errors import UserError
from kd3d.heads import DensePrediction, dense_prediction
from kd3d.heads.dense import _DECODERS

IMAGE_PX = 64
STRIDES = (8, 16)
CLASSES = 3
COMMON = {"num_classes": CLASSES, "in_channels": 8, "feat_channels": 8, "stacked_convs": 1}
ANCHORS = {
    "type": "AnchorGenerator", "ratios": [0.5, 1.0], "octave_base_scale": 4, "scales_per_octave": 2,
    "strides": STRIDES,
}  # fmt: skip
SQUARE = {
    "type": "AnchorGenerator",
    "ratios": [1.0],
    "octave_base_scale": 8,
    "scales_per_octave": 1,
    "strides": STRIDES,
}
ANCHOR_HEAD = {"num_classes": CLASSES, "in_channels": 8, "feat_channels": 8}
POINTS = {"type": "MlvlPointGenerator", "offset": 0, "strides": STRIDES}
DELTAS = {
    "type": "DeltaXYWHBBoxCoder",
    "target_means": [0.1, -0.2, 0.3, -0.4],
    "target_stds": [0.1, 0.1, 0.2, 0.2],
}
DISTANCES = {"type": "DistancePointBBoxCoder"}
GROUPS = {"type": "GN", "num_groups": 2}
FOCAL = {"type": "FocalLoss", "use_sigmoid": True}
SOFTMAX = {"type": "CrossEntropyLoss", "use_sigmoid": False}
QUALITY = {"type": "QualityFocalLoss", "use_sigmoid": True, "beta": 2.0}

HEADS = {
    "anchor": dict(
        ANCHOR_HEAD, type="AnchorHead", anchor_generator=ANCHORS,
        loss_cls={"type": "CrossEntropyLoss", "use_sigmoid": True},
    ),
    "anchor-softmax": dict(
        ANCHOR_HEAD, type="AnchorHead", anchor_generator=ANCHORS, bbox_coder=DELTAS,
        loss_cls=SOFTMAX,
    ),
    "retina": dict(COMMON, type="RetinaHead", anchor_generator=ANCHORS, bbox_coder=DELTAS),
    "retina-softmax": dict(COMMON, type="RetinaHead", anchor_generator=ANCHORS, loss_cls=SOFTMAX),
    "retina-sepbn": dict(
        COMMON, type="RetinaSepBNHead", num_ins=2, norm_cfg={"type": "BN"},
        anchor_generator=ANCHORS,
    ),
    "rpn": {
        "type": "RPNHead", "in_channels": 8, "feat_channels": 8, "anchor_generator": ANCHORS,
        "bbox_coder": DELTAS, "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True},
    },
    "atss": dict(
        COMMON, type="ATSSHead", anchor_generator=SQUARE, bbox_coder=DELTAS, norm_cfg=GROUPS,
        loss_cls=FOCAL, reg_decoded_bbox=True,
    ),
    "gfl": dict(
        COMMON, type="GFLHead", anchor_generator=SQUARE, norm_cfg=GROUPS, reg_max=7,
        loss_cls=QUALITY,
    ),
    "fcos": dict(COMMON, type="FCOSHead", strides=STRIDES, norm_cfg=GROUPS,
                 regress_ranges=((-1, 64), (64, 1e8))),
    "fcos-norm-on-bbox": dict(
        COMMON, type="FCOSHead", strides=STRIDES, norm_cfg=GROUPS, norm_on_bbox=True,
        centerness_on_reg=True, regress_ranges=((-1, 64), (64, 1e8)),
    ),
    "rtmdet": dict(
        COMMON, type="RTMDetHead", anchor_generator=POINTS, bbox_coder=DISTANCES,
        norm_cfg={"type": "BN"}, loss_cls=QUALITY, with_objectness=True,
    ),
    "rtmdet-sepbn": dict(
        COMMON, type="RTMDetSepBNHead", anchor_generator=POINTS, bbox_coder=DISTANCES,
        norm_cfg={"type": "BN"}, loss_cls=QUALITY, with_objectness=False, exp_on_reg=True,
        share_conv=True, pred_kernel_size=1,
    ),
    "yolox": dict(COMMON, type="YOLOXHead", strides=STRIDES),
}  # fmt: skip


def build(name):
    torch.manual_seed(0)
    config = dict(HEADS[name])
    if config["type"] not in ("FCOSHead", "YOLOXHead"):
        config["train_cfg"] = ConfigDict(assigner={"type": "ATSSAssigner", "topk": 9})
    with DefaultScope.overwrite_default_scope("mmdet"):
        head = MODELS.build(config)
    for parameter in head.parameters():  # far from the initial values, where boxes hardly move
        torch.nn.init.normal_(parameter, std=0.3)
    return head.eval()


def features(batch=2):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(batch, 8, IMAGE_PX // s, IMAGE_PX // s, generator=generator) for s in STRIDES
    ]


def in_one_order(boxes, scores, labels):
    """(N * K, 6) rows sorted by label, then score: mmdet returns its own order of top scores."""
    rows = torch.cat([labels[:, None].float(), scores[:, None], boxes], dim=1)
    order = sorted(range(len(rows)), key=lambda i: (rows[i, 0].item(), rows[i, 1].item()))
    return rows[order]


def mmdet_rows(head, outputs, image):
    """What mmdet hands to its NMS, unclipped, for every position and class."""
    if hasattr(head, "bbox_coder"):
        head.bbox_coder.clip_border = False
    config = ConfigDict(nms_pre=10**6, score_thr=-1.0)
    two_stage = type(head).__name__ == "RPNHead"  # insists on an NMS: this one drops nothing
    if two_stage:
        config.update(nms={"type": "nms", "iou_threshold": 1.0}, max_per_img=10**6)
    meta = {"img_shape": (IMAGE_PX, IMAGE_PX), "scale_factor": (1.0, 1.0)}
    results = head.predict_by_feat(
        *outputs, batch_img_metas=[meta] * 2, cfg=config, rescale=False, with_nms=two_stage
    )[image]
    scores = results.scores
    if "score_factors" in results:
        scores = scores * results.score_factors
    return in_one_order(results.bboxes, scores, results.labels)


def our_rows(prediction, image, best_class_only):
    scores = prediction.scores()[image]
    boxes = prediction.boxes[image]
    if best_class_only:  # YOLOX keeps one class a position
        best, labels = scores.max(-1)
        return in_one_order(boxes, best, labels)
    count, classes = scores.shape
    labels = torch.arange(classes).repeat(count)
    return in_one_order(boxes.repeat_interleave(classes, 0), scores.flatten(), labels)


@pytest.mark.parametrize("name", HEADS)
def test_equals_mmdets_own_decoding(name):
    head = build(name)
    with torch.no_grad():
        outputs = head(features())
        prediction = dense_prediction(head, outputs)
        for image in range(2):
            expected = mmdet_rows(head, outputs, image)
            received = our_rows(prediction, image, best_class_only=name == "yolox")
            assert received.shape == expected.shape
            torch.testing.assert_close(received, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_train_mode_decodes_to_the_boxes_of_eval_mode(name):
    head = build(name)
    with torch.no_grad():
        expected = dense_prediction(head, head(features()))
        head.train()
        for module in head.modules():  # only the head's own switch is under test
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        received = dense_prediction(head, head(features()))
    torch.testing.assert_close(received.boxes, expected.boxes)
    torch.testing.assert_close(received.scores(), expected.scores())


def test_every_family_is_compared():
    assert {config["type"] for config in HEADS.values()} == set(_DECODERS)


@pytest.mark.parametrize("name", HEADS)
def test_gradient_reaches_every_output(name):
    head = build(name)
    outputs = [[level.detach().requires_grad_() for level in kind] for kind in head(features())]
    prediction = dense_prediction(head, outputs)
    (prediction.boxes.sum() + prediction.scores().sum()).backward()
    levels = [level for kind in outputs for level in kind]
    assert len(levels) == len(outputs) * len(STRIDES)
    assert all(level.grad is not None and level.grad.abs().sum() > 0 for level in levels)


def test_half_precision_outputs_are_decoded_in_float32():
    head = build("gfl")
    outputs = [[level.bfloat16() for level in kind] for kind in head(features())]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = dense_prediction(head, outputs)
    assert prediction.boxes.dtype == prediction.logits.dtype == torch.float32
    exact = dense_prediction(head, [[level.float() for level in kind] for kind in outputs])
    torch.testing.assert_close(prediction.boxes, exact.boxes)


def test_subclass_of_a_user_is_decoded_as_its_parent():
    head = build("retina")
    outputs = head(features())
    expected = dense_prediction(head, outputs).boxes
    head.__class__ = type("OurHead", (type(head),), {})
    torch.testing.assert_close(dense_prediction(head, outputs).boxes, expected)


def test_unknown_head_is_refused_with_the_supported_names():
    with pytest.raises(UserError, match=r"head Linear; supported are .*RetinaHead.*YOLOXHead"):
        dense_prediction(torch.nn.Linear(1, 1), ())


def test_unknown_box_coder_is_refused():
    head = build("retina")
    outputs = head(features())
    head.bbox_coder.add_ctr_clamp = True
    with pytest.raises(UserError, match="expected DeltaXYWHBBoxCoder without add_ctr_clamp"):
        dense_prediction(head, outputs)


def test_sigmoid_scores_are_multiplied_by_objectness():
    log3, boxes = math.log(3.0), torch.zeros(1, 1, 4)  # sigmoid(log 3) = 3/4
    logits = torch.tensor([[[log3, -log3]]])
    plain = DensePrediction(logits, boxes)
    assert plain.scores().flatten().tolist() == pytest.approx([3 / 4, 1 / 4])
    with_objectness = DensePrediction(logits, boxes, objectness=torch.tensor([[-log3]]))
    assert with_objectness.scores().flatten().tolist() == pytest.approx([3 / 16, 1 / 16])


def test_softmax_scores_leave_the_background_out():
    logits = torch.tensor([[[math.log(2.0), math.log(3.0), math.log(5.0)]]])
    prediction = DensePrediction(logits, torch.zeros(1, 1, 4), softmax=True)
    assert prediction.scores().flatten().tolist() == pytest.approx([2 / 10, 3 / 10])
