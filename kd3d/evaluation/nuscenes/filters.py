"""Which boxes count: near enough, with points in them, and no cycle inside a bicycle rack."""

import numpy as np

from kd3d.evaluation.nuscenes.boxes import Boxes, Floats, GroundTruth, Ints, Mask
from kd3d.evaluation.nuscenes.protocol import CLASSES, CYCLES, Protocol
from kd3d.evaluation.nuscenes.rotations import dots, rotation_matrices

# Signs of the eight corners along length, width and height: the front four, then the back four.
_CORNER_SIGNS = np.array(
    [
        [1, 1, 1, 1, -1, -1, -1, -1],
        [1, -1, -1, 1, 1, -1, -1, 1],
        [1, 1, -1, -1, 1, 1, -1, -1],
    ]
)
_REFERENCE, _ALONG_LENGTH, _ALONG_WIDTH, _ALONG_HEIGHT = 0, 4, 1, 3  # numbers of corners
_CYCLE_LABELS = [CLASSES.index(name) for name in CYCLES]


def counting(boxes: Boxes, truth: GroundTruth, protocol: Protocol) -> Mask:
    """(N,) which boxes the protocol evaluates, predictions or ground truth."""
    counts: Mask = _in_range(boxes, truth.ego_m, protocol) & (boxes.points != 0)
    counts &= ~_in_a_rack(boxes, truth)
    return counts


def rack_edges(center_m: Floats, size_m: Floats, rotation: Floats) -> Floats:
    """(R, 4, 3) of R boxes: one corner, and the edges from it along length, width and height.

    Args:
        center_m: (R, 3).
        size_m: (R, 3) width, length, height.
        rotation: (R, 4) quaternion w x y z.
    """
    half = size_m[:, [1, 0, 2]] / 2
    corners = np.matmul(rotation_matrices(rotation), half[:, :, None] * _CORNER_SIGNS)
    corners = corners + center_m[:, :, None]
    reference = corners[:, :, _REFERENCE]
    edges = [
        corners[:, :, other] - reference for other in (_ALONG_LENGTH, _ALONG_WIDTH, _ALONG_HEIGHT)
    ]
    return np.stack([reference, *edges], axis=1)


def _in_range(boxes: Boxes, ego_m: Floats, protocol: Protocol) -> Mask:
    offset_m = boxes.center_m[:, :2] - ego_m[boxes.frame, :2]
    distance_m = np.sqrt(offset_m[:, 0] ** 2 + offset_m[:, 1] ** 2)
    limit_m = np.array([protocol.range_m[name] for name in CLASSES], dtype=np.float64)
    within: Mask = distance_m < limit_m[boxes.label]
    return within


def _in_a_rack(boxes: Boxes, truth: GroundTruth) -> Mask:
    inside = np.zeros(len(boxes), dtype=np.bool_)
    cycles = np.flatnonzero(np.isin(boxes.label, _CYCLE_LABELS))
    box, rack = _pairs_of_a_frame(boxes.frame[cycles], truth.rack_frame)
    if len(box) == 0:
        return inside
    box = cycles[box]
    corner = truth.rack_m[rack, 0]
    from_corner = boxes.center_m[box] - corner
    within = np.ones(len(box), dtype=np.bool_)
    for axis in (1, 2, 3):
        edge = truth.rack_m[rack, axis]
        along = dots(edge, from_corner)
        within &= (along >= 0) & (along <= dots(edge, edge))
    inside[box[within]] = True
    return inside


def _pairs_of_a_frame(left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """All pairs of positions in two lists of frames that name the same frame."""
    order = np.argsort(right, kind="stable")
    start = np.searchsorted(right[order], left, side="left")
    count = np.searchsorted(right[order], left, side="right") - start
    first = np.repeat(np.arange(len(left)), count)
    within = np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
    return first, order[start[first] + within]
