import math

import numpy as np
import pytest

from kd3d.export.detections.bev_nms import circle_nms, overlap_nms


def box(x, y, dx=4.0, dy=2.0, yaw=0.0):
    return [x, y, 0.0, dx, dy, 1.5, yaw]


def test_circle_nms_compares_squared_distances():
    centers = np.float32([[0, 0], [2, 0], [2.1, 0], [5, 0]])
    scores = np.float32([0.9, 0.8, 0.7, 0.6])
    # 2 m from the best: 4 <= 4 is dropped; 2.1 m: 4.41 > 4 stays
    np.testing.assert_array_equal(circle_nms(centers, scores, 4.0, None), [0, 2, 3])
    np.testing.assert_array_equal(circle_nms(centers, scores, 4.0, 2), [0, 2])


def test_a_dropped_box_drops_none():
    centers = np.float32([[0, 0], [1.5, 0], [3, 0]])
    scores = np.float32([0.5, 0.4, 0.3])
    np.testing.assert_array_equal(circle_nms(centers, scores, 4.0, None), [0, 2])


def test_best_come_first_in_any_input_order():
    centers = np.float32([[9, 9], [0, 0]])
    np.testing.assert_array_equal(circle_nms(centers, np.float32([0.1, 0.2]), 1.0, None), [1, 0])


@pytest.mark.parametrize(("threshold", "kept"), [(0.34, [0, 1]), (0.32, [0])])
def test_overlap_of_two_boxes_half_over_one_another(threshold, kept):
    boxes = np.float32([box(0, 0), box(2, 0)])  # IoU: 4 / (8 + 8 - 4) = 1 / 3
    for rotated in (True, False):
        found = overlap_nms(boxes, np.float32([0.9, 0.8]), threshold, rotated=rotated)
        np.testing.assert_array_equal(found, kept)


def test_rotation_counts_or_not():
    crossed = np.float32([box(0, 0), box(0, 0, yaw=math.pi / 2)])  # IoU: 4 / 12 if rotated
    scores = np.float32([0.5, 0.6])
    np.testing.assert_array_equal(overlap_nms(crossed, scores, 0.5), [1, 0])
    np.testing.assert_array_equal(overlap_nms(crossed, scores, 0.5, rotated=False), [1])


def test_limits_before_and_after():
    boxes = np.float32([box(10 * i, 0) for i in range(4)])
    scores = np.float32([0.1, 0.4, 0.3, 0.2])
    np.testing.assert_array_equal(overlap_nms(boxes, scores, 0.1, most_before=3), [1, 2, 3])
    np.testing.assert_array_equal(overlap_nms(boxes, scores, 0.1, most=1), [1])
    assert len(overlap_nms(boxes[:0], scores[:0], 0.1)) == 0
