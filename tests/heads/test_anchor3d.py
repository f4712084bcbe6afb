"""Our reading of anchor heads equals mmdet3d's own decoding."""

import math

import pytest
import torch
from mmengine.config import ConfigDict

from kd3d.bev_grid import BevGrid
from kd3d.errors import UserError
from kd3d.heads import Anchor3DPrediction, prediction_of

pytest.importorskip("mmdet3d.models")  # registers the heads; here, because it takes seconds
CLASSES = 3
SIZES = [[3.9, 1.6, 1.56], [0.8, 0.6, 1.73], [1.76, 0.6, 1.73]]
RANGES = [[0.0, -4.0, -1.8, 8.0, 4.0, -1.8], [0.0, -4.0, -0.6, 8.0, 4.0, -0.6]]
COMMON = {
    "num_classes": CLASSES,
    "in_channels": 8,
    "feat_channels": 8,
    "use_direction_classifier": True,
    "loss_cls": {"type": "mmdet.FocalLoss", "use_sigmoid": True},
    "test_cfg": {
        "use_rotate_nms": False, "nms_across_levels": False, "nms_thr": 1.0, "score_thr": -1.0,
        "min_bbox_size": 0, "nms_pre": -1, "max_num": 10**6,
    },
}  # fmt: skip
ANCHORS = {
    "type": "AlignedAnchor3DRangeGenerator", "ranges": [RANGES[0]], "sizes": SIZES,
    "rotations": [0, 1.57], "reshape_out": False,
}  # fmt: skip
HEADS = {
    "kitti": dict(
        COMMON, type="Anchor3DHead",
        anchor_generator=dict(
            ANCHORS, type="Anchor3DRangeGenerator", ranges=[*RANGES, RANGES[0]]
        ),
    ),
    "nuscenes": dict(
        COMMON, type="Anchor3DHead", dir_offset=-0.7854,
        anchor_generator=dict(ANCHORS, custom_values=[0, 0]),
        bbox_coder={"type": "DeltaXYZWLHRBBoxCoder", "code_size": 9},
    ),
    "two levels": dict(
        COMMON, type="Anchor3DHead", dir_limit_offset=1,
        anchor_generator=dict(ANCHORS, scales=[1, 2]),
    ),
    "free anchors": dict(COMMON, type="FreeAnchor3DHead", anchor_generator=ANCHORS),
    "ssn": dict(
        COMMON, type="ShapeAwareHead",
        tasks=[
            {"num_class": 1, "class_names": ["car"], "shared_conv_channels": (8,),
             "shared_conv_strides": (2,)},
            {"num_class": 2, "class_names": ["pedestrian", "bicycle"],
             "shared_conv_channels": (8,), "shared_conv_strides": (1,)},
        ],
        anchor_generator=dict(ANCHORS, type="AlignedAnchor3DRangeGeneratorPerCls",
                              ranges=[RANGES[0]] * 3),
    ),
}  # fmt: skip


def build(name):
    from mmdet3d.registry import MODELS
    from mmengine.registry import DefaultScope

    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        head = MODELS.build(ConfigDict(HEADS[name]))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return head.eval()


def outputs_of(head, name):
    generator = torch.Generator().manual_seed(1)
    sizes = [(4, 6), (2, 3)] if name == "two levels" else [(4, 6)]
    with torch.no_grad():
        return head([torch.randn(2, 8, *size, generator=generator) * 5 for size in sizes])


def in_one_order(boxes, scores, labels):
    rows = torch.cat([labels[:, None].float(), scores[:, None], boxes], dim=1)
    order = sorted(range(len(rows)), key=lambda i: (rows[i, 0].item(), rows[i, 1].item()))
    return rows[order]


def mmdet3d_rows(head, outputs, frame):
    """What mmdet3d reports of every anchor and class when its NMS suppresses nothing."""
    from mmdet3d.structures import LiDARInstance3DBoxes

    metas = [{"box_type_3d": LiDARInstance3DBoxes}] * 2
    found = head.predict_by_feat(*outputs, metas, cfg=ConfigDict(head.test_cfg))[frame]
    return in_one_order(found.bboxes_3d.tensor, found.scores_3d, found.labels_3d)


def our_rows(prediction, frame, code):
    count = len(prediction.anchors)
    boxes = prediction.boxes_at(torch.full((count,), frame), torch.arange(count))[:, :code]
    scores = prediction.scores()[frame]
    labels = torch.arange(CLASSES).repeat(count)
    return in_one_order(boxes.repeat_interleave(CLASSES, 0), scores.flatten(), labels)


@pytest.mark.parametrize("name", HEADS)
def test_equals_mmdet3ds_own_decoding(name):
    head = build(name)
    outputs = outputs_of(head, name)
    prediction = prediction_of(head, outputs)
    assert isinstance(prediction, Anchor3DPrediction)
    for frame in range(2):
        expected = mmdet3d_rows(head, outputs, frame)
        received = our_rows(prediction, frame, head.box_code_size)
        assert received.shape == expected.shape
        turned = (received[:, 8] - expected[:, 8]).sin().abs()  # yaw is told up to a whole turn
        assert turned.max() < 1e-4
        assert ((received[:, 8] - expected[:, 8]).cos() > 0).all()
        others = [column for column in range(expected.shape[1]) if column != 8]
        torch.testing.assert_close(received[:, others], expected[:, others], rtol=1e-4, atol=1e-4)


def test_levels_and_templates_tell_the_layout():
    prediction = prediction_of(build("two levels"), outputs_of(build("two levels"), "two levels"))
    assert prediction.levels == ((4, 6), (2, 3))
    assert prediction.logits.shape == (2, (24 + 6) * 6, CLASSES)
    assert prediction.templates[-2:] == ((0.0, 1.57), (1.0, 2.0))
    assert prediction.templates[0] == pytest.approx(SIZES[0])
    shape_aware = build("ssn")
    assert prediction_of(shape_aware, outputs_of(shape_aware, "ssn")).levels is None


def one_anchor(yaw, half_turns, *, offset, limit=0.0):
    """A box at the anchor with the given yaw, of which the direction says 0 or 1 half turns."""
    return Anchor3DPrediction(
        torch.zeros(1, 1, 1),
        torch.tensor([[[0.0, 0, 0, 0, 0, 0, yaw]]]),
        torch.tensor([[[-1.0, 1.0] if half_turns else [1.0, -1.0]]]),
        torch.tensor([[1.0, 2.0, -1.0, 4.0, 2.0, 1.5, 0.0]]),
        templates=(),
        ranges=(),
        levels=((1, 1),),
        direction_offset=offset,
        direction_limit=limit,
    )


@pytest.mark.parametrize(
    ("yaw", "half_turns", "expected"),
    [(0.3, 0, 0.3), (0.3, 1, 0.3 + math.pi), (-0.3, 0, math.pi - 0.3), (3.5, 0, 3.5 - math.pi)],
)
def test_direction_says_which_half_turn(yaw, half_turns, expected):
    """Counted from 0 upwards: without a half turn yaw lies in [0, pi)."""
    zero = torch.zeros(1, dtype=torch.long)
    box = one_anchor(yaw, half_turns, offset=0.0).boxes_at(zero, zero)[0]
    assert box.tolist() == pytest.approx([1, 2, -1, 4, 2, 1.5, expected, 0, 0])


def test_detections_are_the_best_anchors_best_first():
    name = "nuscenes"
    prediction = prediction_of(build(name), outputs_of(build(name), name))
    boxes, labels, scores = prediction.detections(4)
    assert boxes.shape == (2, 4 * CLASSES, 9)
    best, classes = prediction.scores()[1].max(-1)
    order = best.argsort(descending=True)[: 4 * CLASSES]
    torch.testing.assert_close(scores[1], best[order])
    assert labels[1].tolist() == classes[order].tolist()
    torch.testing.assert_close(boxes[1], prediction.boxes_at(torch.ones_like(order), order))


def score_map_of(name, grid, *, over=None):
    head = build(name)
    outputs = outputs_of(head, name)
    prediction = prediction_of(head, outputs, grid=over)
    best = prediction.scores().amax(-1)
    return prediction.score_map(grid), best


@pytest.mark.parametrize("name", ["kitti", "nuscenes", "free anchors"])
def test_every_cell_of_the_heads_map_has_its_best_score(name):
    """Cells of an anchor head are told by index: KITTI's last anchors stand on the far edge."""
    grid = BevGrid(0.0, -4.0, 8.0, 4.0, rows=4, columns=6)
    drawn, best = score_map_of(name, grid)
    expected = torch.zeros(2, 1, 4, 6)
    for place in range(best.shape[1]):
        row, column = divmod(place // 6, 6)  # six templates: three sizes, two rotations
        expected[:, 0, row, column] = torch.maximum(expected[:, 0, row, column], best[:, place])
    torch.testing.assert_close(drawn, expected)


def test_several_levels_share_one_score_map():
    grid = BevGrid(0.0, -4.0, 8.0, 4.0, rows=2, columns=3)
    drawn, best = score_map_of("two levels", grid)
    fine, coarse = best[:, :144].view(2, 4, 6, 6).amax(-1), best[:, 144:].view(2, 2, 3, 6).amax(-1)
    expected = torch.maximum(torch.nn.functional.max_pool2d(fine, 2), coarse)
    torch.testing.assert_close(drawn[:, 0], expected)


def test_shape_aware_heads_tell_their_maps_class_by_class():
    """The first class on 2 x 3 cells, the others on 4 x 6, each rotation's anchors together."""
    grid = BevGrid(0.0, -4.0, 8.0, 4.0, rows=2, columns=3)
    drawn, best = score_map_of("ssn", grid)
    assert best.shape[1] == 2 * 6 + 4 * 24
    coarse, fine = best[:, :12].view(2, 2, 2, 3).amax(1), best[:, 12:].view(2, 4, 4, 6).amax(1)
    expected = torch.maximum(torch.nn.functional.max_pool2d(fine, 2), coarse)
    torch.testing.assert_close(drawn[:, 0], expected)


def test_a_finer_score_map_has_no_holes():
    fine = BevGrid(0.0, -4.0, 8.0, 4.0, rows=8, columns=12)
    drawn, best = score_map_of("kitti", fine)
    assert drawn.min() > 0
    cells = best.view(2, 4, 6, 6).amax(-1)
    corners = drawn[:, 0, ::7, ::11]  # beyond the outer centres they are continued
    torch.testing.assert_close(corners, cells[:, ::3, ::5])


def test_the_score_map_lies_where_the_models_maps_do():
    """A model that sees 1 m more on each side than its anchors; beyond it nothing is found."""
    model = BevGrid(-1.0, -5.0, 9.0, 5.0, rows=4, columns=6)
    drawn, best = score_map_of("nuscenes", model, over=model)
    torch.testing.assert_close(drawn[:, 0], best.view(2, 4, 6, 6).amax(-1))
    wide = BevGrid(-11.0, -15.0, 19.0, 15.0, rows=12, columns=18)  # three times as far
    drawn, _ = score_map_of("nuscenes", wide, over=model)
    inner = torch.zeros(2, 1, 12, 18)
    inner[:, 0, 4:8, 6:12] = best.view(2, 4, 6, 6).amax(-1)
    torch.testing.assert_close(drawn, inner)


def test_detached_keeps_the_chosen_anchors_without_gradient():
    prediction = one_anchor(0.3, 0, offset=0.0)
    grown = Anchor3DPrediction(
        prediction.logits.repeat(1, 3, 1).requires_grad_(),
        prediction.deltas.repeat(1, 3, 1),
        None,
        torch.arange(21.0).view(3, 7),
        templates=(),
        ranges=(),
        levels=((1, 3),),
        maps=(BevGrid(0.0, 0.0, 3.0, 1.0, rows=1, columns=3),),
    )
    chosen = grown.detached(torch.tensor([2, 0]))
    assert chosen.anchors[:, 0].tolist() == [14.0, 0.0]
    assert chosen.logits.shape == (1, 2, 1)
    assert not chosen.logits.requires_grad
    assert grown.detached().levels == ((1, 3),)
    assert grown.detached().maps == grown.maps != ()
    assert chosen.levels is None
    assert chosen.maps == ()


def test_softmax_classes_and_other_coders_are_refused():
    head = build("kitti")
    outputs = outputs_of(head, "kitti")
    head.use_sigmoid_cls = False
    with pytest.raises(UserError, match="expected DeltaXYZWLHRBBoxCoder and sigmoid classes"):
        prediction_of(head, outputs)
    head.use_sigmoid_cls = True
    head.bbox_coder = torch.nn.Identity()
    with pytest.raises(UserError, match="with the box coder Identity"):
        prediction_of(head, outputs)
