"""Equality with mmdet3d's heads is in test_pillar_deployable.py; here are the rules by hand."""

import json

import numpy as np
import pytest
from toys_pillars import MODELS, pillar_config, pillar_detector

from kd3d.errors import UserError
from kd3d.export.detections.final_boxes3d import (
    AnchorPostProcessing,
    CenterPostProcessing,
    post_processing3d,
    settings_as_json,
    settings_from_json,
)
from kd3d.export.networks.pillar_deployable import pillar_deployable

RANGE = [-10, -10, -2, 10, 10, 2]


def boxes(*centers, z=0.0):
    return np.float32([[x, y, z, 1, 1, 2, 0] for x, y in centers])


def test_center_filters_each_task_by_itself():
    settings = CenterPostProcessing(
        score_threshold=0.3, center_range_m=RANGE, nms="circle", circle_limits_m2=[4, 1], nms_most=2
    )
    outputs = {
        "boxes": boxes((0, 0), (1.5, 0), (11, 0), (0, 0), (1.5, 0), (3, 3)),
        "scores": np.float32([0.9, 0.8, 0.7, 0.6, 0.5, 0.3]),
        "labels": np.int32([0, 1, 0, 2, 2, 2]),
    }
    found = settings(outputs, [3, 3])
    # first task: 1.5 m away is within 2 m (4 m2), 11 is out of range; second: 1.5 m is not within
    # 1 m, and 0.3 is not above 0.3
    np.testing.assert_array_equal(found.scores, np.float32([0.9, 0.6, 0.5]))
    np.testing.assert_array_equal(found.labels, [0, 2, 2])


def test_center_limits_by_class_leave_other_classes_alone():
    settings = CenterPostProcessing(
        score_threshold=None,
        center_range_m=RANGE,
        nms="circle",
        circle_limits_m2=[-1, -1],
        class_limits_m2=[4, 1, 1],
        nms_most=3,
    )
    outputs = {
        "boxes": boxes((0, 0), (0, 0), (1.5, 0), (1.5, 0), (5, 5), (0, 0), (1.5, 0)),
        "scores": np.float32([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]),
        "labels": np.int32([0, 1, 0, 1, 0, 2, 2]),
    }
    found = settings(outputs, [5, 2])
    # only the second box of class 0 is near a better one of its class; the best three of the rest
    np.testing.assert_array_equal(found.scores, np.float32([0.9, 0.8, 0.6, 0.4, 0.3]))
    np.testing.assert_array_equal(found.labels, [0, 1, 1, 2, 2])


@pytest.mark.parametrize(("bottom", "kept"), [(-3.0, 1), (-3.1, 0), (1.0, 1), (1.1, 0)])
def test_range_is_that_of_the_centre(bottom, kept):
    """Boxes are 2 m high, so their centres lie 1 m above their bottoms."""
    settings = CenterPostProcessing(
        score_threshold=None, center_range_m=RANGE, nms="circle", circle_limits_m2=[1]
    )
    outputs = {"scores": np.float32([0.0]), "labels": np.int32([0])}
    assert len(settings({"boxes": boxes((0, 0), z=bottom), **outputs}, [1]).scores) == kept


def test_rotated_nms_has_its_own_threshold_and_final_range():
    settings = CenterPostProcessing(
        score_threshold=None,
        center_range_m=RANGE,
        nms="rotate",
        nms_score_threshold=0.5,
        nms_iou_threshold=0.1,
        final_range_m=[-2, -2, -2, 2, 2, 2],
    )
    outputs = {
        "boxes": boxes((2.4, 0), (1.9, 0), (0, 0), (-1.5, 0)),
        "scores": np.float32([0.9, 0.8, 0.5, 0.4]),
        "labels": np.int32([0, 0, 1, 0]),
    }
    # the best is out of the final range, but only after it has dropped its neighbour
    found = settings(outputs, [4])
    np.testing.assert_array_equal(found.labels, [1])
    np.testing.assert_array_equal(found.scores, np.float32([0.5]))


def test_anchor_classes_do_not_suppress_one_another():
    settings = AnchorPostProcessing(
        score_threshold=0.2, nms="rotate", nms_iou_threshold=0.1, most=2
    )
    outputs = {
        "boxes": boxes((0, 0), (0.2, 0), (5, 5)),
        "scores": np.float32([[0.5, 0.1], [0.6, 0.3], [0.2, 0.7]]),
    }
    everything = AnchorPostProcessing(
        score_threshold=0.2, nms="upright", nms_iou_threshold=0.1, most=9
    )(outputs, [3])
    np.testing.assert_array_equal(everything.labels, [0, 1, 1])
    np.testing.assert_array_equal(everything.scores, np.float32([0.6, 0.7, 0.3]))
    found = settings(outputs, [3])  # the two best of all classes, best first
    np.testing.assert_array_equal(found.labels, [1, 0])
    np.testing.assert_array_equal(found.scores, np.float32([0.7, 0.6]))


def test_nothing_above_the_threshold():
    settings = AnchorPostProcessing(
        score_threshold=0.9, nms="rotate", nms_iou_threshold=0.1, most=2
    )
    found = settings({"boxes": boxes((0, 0)), "scores": np.float32([[0.1, 0.2]])}, [1])
    assert (found.boxes.shape, found.scores.shape) == ((0, 7), (0,))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_settings_survive_json(name):
    head = pillar_deployable(pillar_detector(pillar_config(name))).head
    settings = post_processing3d(head)
    content = json.loads(json.dumps(settings_as_json(settings)))
    assert content["steps"]
    read = settings_from_json(content)
    assert settings_as_json(read) == content


def test_rotated_settings_are_those_of_the_config():
    cfg = pillar_config("centerpoint-rotated")
    head = pillar_deployable(pillar_detector(cfg)).head
    assert post_processing3d(head) == CenterPostProcessing(
        score_threshold=0.05,
        center_range_m=[-10, -10, -10, 10, 10, 10],
        class_limits_m2=[],
        nms="rotate",
        nms_score_threshold=0.4,
        nms_iou_threshold=0.1,
        nms_most_before=15,
        nms_most=7,
        final_range_m=[-5, -5, -10, 5, 5, 10],
    )
    head.test_cfg = None
    with pytest.raises(UserError, match=r"model\.test_cfg"):
        post_processing3d(head)
