"""Each transform that is said not to read labels makes the same with and without them."""

import copy
import os

import mmdet3d.datasets.transforms  # noqa: F401  (registers them, and mmdet's)
import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmdet3d.structures import LiDARInstance3DBoxes
from mmdet3d.structures.points import LiDARPoints
from mmengine.registry import TRANSFORMS, DefaultScope

from kd3d.datasets.frame_content import (
    LABEL_FREE,
    content_digest,
    digest,
    kinds_in,
    may_read_labels,
    sweeps_digest,
)
from kd3d.datasets.replayed_augmentation import seeded

IMAGES = [
    {"type": "Resize", "scale": (40, 30)},
    {"type": "FixScaleResize", "scale": (40, 30), "keep_ratio": True},
    {"type": "FixShapeResize", "width": 40, "height": 30},
    {"type": "RandomResize", "scale": (40, 30), "ratio_range": (0.5, 2.0), "resize_type": "Resize"},
    {"type": "RandomChoiceResize", "scales": [(40, 30), (50, 40)], "resize_type": "Resize"},
    {"type": "RandomFlip", "prob": 0.5},
    {"type": "RandomCrop", "crop_size": (20, 20), "allow_negative_crop": True},
    {"type": "RandomAffine"},
    {"type": "Expand"},
    {"type": "Pad", "size_divisor": 32},
    {"type": "CutOut", "n_holes": 2, "cutout_shape": (8, 8)},
    {"type": "RandomErasing", "n_patches": 2, "ratio": 0.3},
    *({"type": kind, "level": 5} for kind in ("Rotate", "ShearX", "ShearY")),
    *({"type": kind, "level": 5} for kind in ("TranslateX", "TranslateY")),
    {"type": "Normalize", "mean": [100.0] * 3, "std": [50.0] * 3},
    {"type": "PhotoMetricDistortion"},
    {"type": "YOLOXHSVRandomAug"},
    {"type": "RandomGrayscale", "prob": 0.5, "keep_channels": True},
    *({"type": kind, "level": 5} for kind in ("Color", "Brightness", "Contrast", "Sharpness")),
    *({"type": kind} for kind in ("AutoContrast", "Equalize", "Invert")),
    *({"type": kind, "level": 5} for kind in ("Posterize", "Solarize")),
    {"type": "FilterAnnotations", "min_gt_bbox_wh": (1, 1), "keep_empty": False},
    {"type": "LoadAnnotations", "with_bbox": True},
    {"type": "PackDetInputs", "meta_keys": ()},
]
POINTS = [
    {"type": "GlobalRotScaleTrans"},
    {"type": "RandomFlip3D", "flip_ratio_bev_horizontal": 0.5, "flip_ratio_bev_vertical": 0.5},
    {"type": "RandomJitterPoints"},
    {"type": "PointSample", "num_points": 50},
    {"type": "PointShuffle"},
    {"type": "PointsRangeFilter", "point_cloud_range": [-5, -5, -5, 5, 5, 5]},
    {"type": "ObjectRangeFilter", "point_cloud_range": [-5, -5, -5, 5, 5, 5]},
    {"type": "ObjectNameFilter", "classes": ["car"]},
    {"type": "LoadAnnotations3D"},
    {"type": "Pack3DDetInputs", "keys": ["points", "gt_bboxes_3d"]},
]
ELSEWHERE = {"LoadPointsFromMultiSweeps"}  # it reads files: see the sweeps below


def image_frame(boxes):
    rng = np.random.default_rng(0)
    labels, ignored = np.zeros(len(boxes), np.int64), np.zeros(len(boxes), bool)
    return {
        "img": rng.integers(0, 255, (32, 48, 3)).astype(np.uint8),
        "img_shape": (32, 48),
        "gt_bboxes": HorizontalBoxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4)),
        "gt_bboxes_labels": labels,
        "gt_ignore_flags": ignored,
        "instances": [{"bbox": box, "bbox_label": 0, "ignore_flag": 0} for box in boxes],
    }


def point_frame(boxes):
    rng = np.random.default_rng(0)
    points = torch.tensor(rng.uniform(-8, 8, (300, 4)), dtype=torch.float32)
    gt = LiDARInstance3DBoxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 7))
    labels = np.zeros(len(boxes), np.int64)
    frame = {"points": LiDARPoints(points, points_dim=4), "gt_bboxes_3d": gt}
    return {**frame, "gt_labels_3d": labels, "ann_info": {**frame, "gt_labels_3d": labels}}


BOX, OTHER_BOX = [4.0, 4.0, 20.0, 20.0], [4.0, 4.0, 20.0, 21.0]
CUBOID = [2.0, 2.0, -4.0, 4.0, 4.0, 8.0, 0.3]


def seen_after(scope, step, frame):
    """Image or points after a step, of ten seeds; None where it dropped the frame."""
    with DefaultScope.overwrite_default_scope(scope):
        transform = TRANSFORMS.build(dict(step))
    seen = []
    for seed in range(10):
        with seeded(seed):
            out = transform(copy.deepcopy(frame))
        out = out.get("inputs", out) if out is not None else {}
        if isinstance(out, torch.Tensor):
            seen.append(out.numpy())
        elif "points" in out:
            seen.append(getattr(out["points"], "tensor", out["points"]).numpy())
        else:
            seen.append(out.get("img"))
    return seen


CASES = [
    *(("mmdet", step, image_frame, [BOX]) for step in IMAGES),
    *(("mmdet3d", step, point_frame, [CUBOID]) for step in POINTS),
]


@pytest.mark.parametrize(
    ("scope", "step", "frame", "boxes"), CASES, ids=[str(step)[:40] for _, step, _, _ in CASES]
)
def test_image_and_points_do_not_depend_on_labels(scope, step, frame, boxes):
    with_labels, without = (seen_after(scope, step, frame(part)) for part in (boxes, []))
    for one, other in zip(with_labels, without, strict=True):
        assert one is None or other is None or np.array_equal(one, other)
    assert any(value is not None for value in with_labels)


def test_every_transform_said_not_to_read_labels_has_been_run():
    assert {kind for _, step, *_ in CASES for kind in kinds_in(step)} | ELSEWHERE == LABEL_FREE


@pytest.mark.parametrize(
    ("transforms", "expected"),
    [
        ([{"type": "mmdet.RandomFlip"}, {"type": "PackDetInputs"}], False),
        ([{"type": "mmdet.MinIoURandomCrop"}, {"type": "PackDetInputs"}], True),
        ([{"type": "ObjectNoise"}], True),
        ([{"type": "OneOfOurUsers"}], True),
        ([{"type": "RandomChoice", "transforms": [[{"type": "Pad"}]]}], False),
        ([{"type": "RandomChoice", "transforms": [[{"type": "MinIoURandomCrop"}]]}], True),
        ([{"type": "RandomApply", "transforms": {"type": "RandomShift"}}], True),
        ([{"type": "RandomResize", "resize_type": "OneOfOurUsers"}], True),
    ],
)
def test_which_lists_may_read_labels(transforms, expected):
    assert may_read_labels(transforms) is expected


def test_labels_count_where_they_may_be_read():
    def of(frame, **changes):
        return content_digest({**frame, "sample_idx": 0, **changes}, labels=True)

    base = of(image_frame([BOX]))
    assert base == of(image_frame([BOX]), sample_idx=7)
    masks = BitmapMasks(np.ones((1, 32, 48), np.uint8), 32, 48)
    others = {
        of(image_frame([])),
        of(image_frame([OTHER_BOX])),
        of(image_frame([BOX]), gt_bboxes_labels=np.ones(1, np.int64)),
        of(image_frame([BOX]), gt_masks=masks),
        of(image_frame([BOX]), gt_masks=BitmapMasks(1 - masks.masks, 32, 48)),
        of(point_frame([])),
        of(point_frame([CUBOID])),
    }
    assert len(others | {base}) == 8
    assert content_digest(image_frame([BOX]), labels=False) == ""


def test_cameras_count_where_their_images_are_loaded(tmp_path):
    path = tmp_path / "front.jpg"
    path.write_bytes(b"1")

    def of(shift=0.0, **loaded):
        matrix = [[1.0, 0.0, shift], [0.0, 1.0, 0.0]]
        camera = {"img_path": str(path), "lidar2cam": matrix}
        frame = {"lidar_path": "0.bin", "images": {"CAM_FRONT": camera}, **loaded}
        return content_digest(frame, labels=False)

    image = np.zeros((2, 2, 3))
    assert of() == ""
    assert of(img=image) == of(img=image + 1) != ""
    assert of(img=image) != of(0.1, img=image)
    before = of(img=image)
    path.write_bytes(b"12")
    assert of(img=image) != before


def test_sweeps_count_with_their_matrices_times_and_files(tmp_path):
    path = tmp_path / "sweep.bin"
    path.write_bytes(b"1")
    os.utime(path, ns=(10, 10))

    def of(*, shift=0.0, time_s=1.0, file=path, now_s=2.0, count=1):
        points = {"lidar_path": str(file), "lidar2sensor": [[1.0, 0.0, shift]]}
        sweeps = [{"timestamp": time_s, "lidar_points": points}] * count
        return sweeps_digest({"timestamp": now_s, "lidar_sweeps": sweeps})

    base = of()
    assert of() == base
    others = {of(shift=0.1), of(time_s=1.1), of(now_s=2.1), of(file="b.bin"), of(count=2)}
    os.utime(path, ns=(20, 20))
    assert len(others | {base, of()}) == 7
    assert sweeps_digest({"timestamp": 1.0}) == sweeps_digest({"lidar_sweeps": []}) == ""


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [1.5, None]}) == digest({"b": [1.5, None], "a": 1})
    assert digest([[1], [2]]) != digest([[1, 2]])
