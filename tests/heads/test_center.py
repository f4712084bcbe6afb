"""Our reading of a CenterHead equals mmdet3d's decoding."""

import copy
import re

import pytest
import torch

from kd3d.bev_grid import BevGrid
from kd3d.errors import UserError
from kd3d.heads import CenterPrediction, center_prediction, prediction_of
from kd3d.heads.center import boxes_from_codes

pytest.importorskip("mmdet3d.models")  # registers the heads; here, because it takes seconds
TASKS = [["car"], ["truck", "bus"], ["pedestrian"]]
ROWS, COLUMNS = 6, 10
PEAKS = 7
CODER = {
    "type": "CenterPointBBoxCoder",
    "pc_range": [-4.0, -2.0],
    "post_center_range": [-1e4] * 3 + [1e4] * 3,
    "max_num": PEAKS,
    "score_threshold": None,
    "out_size_factor": 4,
    "voxel_size": [0.2, 0.25],
    "code_size": 9,
}
GRID = BevGrid(-4.0, -2.0, 4.0, 4.0, ROWS, COLUMNS)  # cells of 0.8 m and 1 m
HEADS = {"reg": (2, 1), "height": (1, 1), "dim": (3, 1), "rot": (2, 1), "vel": (2, 1)}


def build(*, norm_bbox=True, heads=HEADS):
    from mmdet3d.registry import MODELS
    from mmengine.registry import DefaultScope

    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        head = MODELS.build(
            {
                "type": "CenterHead",
                "in_channels": 8,
                "tasks": [{"num_class": len(names), "class_names": names} for names in TASKS],
                "common_heads": dict(heads),
                "share_conv_channel": 8,
                "bbox_coder": dict(CODER),
                "norm_bbox": norm_bbox,
                "separate_head": {"type": "SeparateHead", "init_bias": -2.19, "head_conv": 8},
            }
        )
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return head.eval()


def outputs_of(head):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        outputs = head([torch.randn(2, 8, ROWS, COLUMNS, generator=generator)])
    for task in outputs:  # spread evenly: scores that tie have no order
        heatmap = task[0]["heatmap"]
        order = torch.randperm(heatmap.numel(), generator=generator).view_as(heatmap)
        task[0]["heatmap"] = order / heatmap.numel() * 6 - 4
    return outputs


def mmdet3d_boxes(head, outputs, task):
    """Of each frame: gravity-centred boxes, scores and labels within the task, best first."""
    level = outputs[task][0]
    size = level["dim"].exp() if head.norm_bbox else level["dim"]
    return head.bbox_coder.decode(
        level["heatmap"].sigmoid(),
        level["rot"][:, 0:1],
        level["rot"][:, 1:2],
        level["height"],
        size,
        level.get("vel"),
        reg=level.get("reg"),
        task_id=task,
    )


def our_boxes(prediction, frame, task, count):
    """Of the ``count`` best cells and classes of a task, whether peaks or not."""
    members = [k for k, own in enumerate(prediction.tasks) if own == task]
    scores = prediction.scores()[frame, members].flatten()
    values, places = scores.topk(count)
    classes = torch.tensor(members)[places // (ROWS * COLUMNS)]
    cells = places % (ROWS * COLUMNS)
    codes = prediction.codes_at(
        torch.full_like(cells, frame), classes, cells // COLUMNS, cells % COLUMNS
    )
    return boxes_from_codes(codes), values, classes - members[0]


CASES = {
    "nuscenes": {},
    "no norm_bbox": {"norm_bbox": False},
    "no velocity": {"heads": {k: v for k, v in HEADS.items() if k != "vel"}},
    "no offset": {"heads": {k: v for k, v in HEADS.items() if k != "reg"}},
}


@pytest.mark.parametrize("name", CASES)
def test_equals_mmdet3ds_box_coder(name):
    head = build(**CASES[name])
    outputs = outputs_of(head)
    if name == "no norm_bbox":  # a trained head predicts sizes above zero
        for task in outputs:
            task[0]["dim"] = task[0]["dim"].abs() + 0.1
    prediction = prediction_of(head, outputs, grid=GRID)
    assert isinstance(prediction, CenterPrediction)
    assert prediction.has_velocity == (name != "no velocity")
    for task in range(len(TASKS)):
        for frame, expected in enumerate(mmdet3d_boxes(head, outputs, task)):
            boxes, scores, labels = our_boxes(prediction, frame, task, PEAKS)
            torch.testing.assert_close(scores, expected["scores"])
            assert labels.tolist() == expected["labels"].tolist()
            bottom = expected["bboxes"].clone()
            bottom[:, 2] -= bottom[:, 5] / 2  # as CenterHead.predict_by_feat does
            count = bottom.shape[1]
            torch.testing.assert_close(boxes[:, :count], bottom, rtol=1e-4, atol=1e-4)
            assert (boxes[:, count:] == 0).all()


def test_classes_stand_in_the_order_of_labels():
    prediction = center_prediction(build(), outputs_of(build()))
    assert prediction.class_names == ("car", "truck", "bus", "pedestrian")
    assert prediction.tasks == (0, 1, 1, 2)
    assert prediction.logits.shape == (2, 4, ROWS, COLUMNS)
    assert prediction.regression.shape == (2, 3, 10, ROWS, COLUMNS)
    assert prediction.grid == GRID


def by_hand(scores):
    """A prediction of one frame and class whose scores are given."""
    logits = torch.tensor(scores).logit()[None, None]
    rows, columns = logits.shape[-2:]
    regression = torch.zeros(1, 1, 10, rows, columns)
    regression[:, :, 0] = 0.25
    regression[:, :, 7] = 1.0
    grid = BevGrid(0.0, 0.0, 2.0 * columns, 1.0 * rows, rows, columns)
    return CenterPrediction(logits, regression, (0,), ("car",), grid)


def test_peaks_are_local_maxima_best_first():
    prediction = by_hand(
        [
            [0.6, 0.5, 0.1, 0.1, 0.1],
            [0.5, 0.4, 0.2, 0.8, 0.7],
            [0.1, 0.1, 0.2, 0.3, 0.2],
        ]
    )
    peaks = prediction.peaks(4)
    assert peaks.scores.flatten().tolist() == pytest.approx([0.8, 0.6, 0.0, 0.0])
    assert peaks.rows.flatten().tolist()[:2] == [1, 0]
    assert peaks.columns.flatten().tolist()[:2] == [3, 0]
    assert prediction.peaks(99).scores.shape == (1, 1, 15)


def test_detections_stand_where_the_peaks_are():
    prediction = by_hand([[0.6, 0.1], [0.1, 0.1], [0.1, 0.7]])
    boxes, labels, scores = prediction.detections(2)
    assert scores.flatten().tolist() == pytest.approx([0.7, 0.6])
    assert labels.flatten().tolist() == [0, 0]
    # Column 1 of 2 m plus a quarter, row 2 of 1 m; 1 m high, so its bottom is half a metre down.
    assert boxes[0, 0].tolist() == pytest.approx([2.5, 2.0, -0.5, 1, 1, 1, 0, 0, 0])
    assert boxes[0, 1].tolist() == pytest.approx([0.5, 0.0, -0.5, 1, 1, 1, 0, 0, 0])


def test_gradient_reaches_heatmap_and_regression():
    prediction = center_prediction(build(), outputs_of(build()))
    leaves = [t.clone().requires_grad_() for t in (prediction.logits, prediction.regression)]
    moved = CenterPrediction(*leaves, prediction.tasks, prediction.class_names, GRID)
    boxes, _, scores = moved.detections(3)
    (boxes.sum() + scores.sum()).backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves)


def test_half_precision_is_read_in_float32():
    head = build()
    outputs = outputs_of(head)
    half = tuple([{k: v.bfloat16() for k, v in task[0].items()}] for task in outputs)
    prediction = center_prediction(head, half)
    assert prediction.logits.dtype == prediction.regression.dtype == torch.float32


def test_subclass_of_a_user_is_read_as_its_parent():
    head = build()
    outputs = outputs_of(head)
    head.__class__ = type("OurHead", (type(head),), {})
    assert isinstance(prediction_of(head, outputs), CenterPrediction)


def test_coder_that_disagrees_with_the_models_range_is_named():
    head = build()
    head.bbox_coder.voxel_size = [0.1, 0.25]
    with pytest.raises(UserError, match="check pc_range, voxel_size and out_size_factor"):
        center_prediction(head, outputs_of(head), grid=GRID)


def test_part_of_the_output_is_refused():
    head = build()
    outputs = outputs_of(head)
    with pytest.raises(UserError, match=re.escape("tap the head itself, such as 'pts_bbox_head'")):
        center_prediction(head, [task[0]["heatmap"] for task in outputs])
    two_levels = [[copy.copy(task[0]), task[0]] for task in outputs]
    with pytest.raises(UserError, match="got list of 2"):
        center_prediction(head, two_levels)
