"""From a detector's boxes in each camera's frame to nuScenes boxes in the global frame.

What mmdet3d's ``NuScenesMetric`` makes of them, by its own functions, on any device: the boxes of
a frame's cameras are joined in that of the front camera, and where views overlap, of boxes of one
class that do the surest stays.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes.boxes import Boxes
from kd3d.evaluation.nuscenes.protocol import ATTRIBUTES, CLASSES, NO_ATTRIBUTE, Protocol

_FRONT = "CAM_FRONT"
_SUPPRESSION = {"use_rotate_nms": True, "nms_thr": 0.05}
_LEAST_SCORE, _MOST_BOXES = 0.01, 500  # of a class before, of a frame after

Found = Mapping[str, Any]  # Any: boxes, scores, labels and attr_labels of mmdet3d


def joined_boxes(
    found: Mapping[int, Found],
    info: Mapping[str, Any],
    frame: int,
    classes: Sequence[str],
    protocol: Protocol,
) -> Boxes:
    """NuScenes boxes of one frame's detections, without those out of range.

    Args:
        found: by the camera's place in ``info``: ``bboxes_3d`` (N, 9), ``scores_3d``, ``labels_3d``
            and ``attr_labels``, on the CPU.
        info: of the frame, as mmdet3d's info file has it.
        frame: index to give the boxes.
        classes: the detector's class names.
        protocol: ranges of the classes.

    Raises:
        UserError: a camera of the frame was not tested, or boxes have no velocity or attribute.
    """
    from mmdet3d.evaluation.metrics import nuscenes_metric as upstream
    from mmdet3d.models.layers import box3d_multiclass_nms
    from mmdet3d.structures import CameraInstance3DBoxes, xywhr2xyxyr

    limits = SimpleNamespace(class_range=protocol.range_m)
    boxes: list[Any] = []  # Any: the devkit's
    attributes: list[int] = []
    for place, camera in enumerate(info["images"]):
        _check(found, place, camera, str(info["token"]))
        moved = upstream.cam_nusc_box_to_global(
            info, *upstream.output_to_nusc_box(found[place]), classes, limits, camera
        )
        boxes, attributes = [*boxes, *moved[0]], [*attributes, *moved[1]]
    boxes = upstream.global_nusc_box_to_cam(info, boxes, classes, limits)
    joined = CameraInstance3DBoxes(_tensor(boxes), box_dim=9, origin=(0.5, 0.5, 0.5))
    kept = box3d_multiclass_nms(
        joined.tensor,
        xywhr2xyxyr(joined.bev),
        _scores(boxes),
        _LEAST_SCORE,
        _MOST_BOXES,
        SimpleNamespace(**_SUPPRESSION),
        mlvl_attr_scores=torch.tensor(attributes).long(),
    )
    names = ("scores_3d", "labels_3d", "attr_labels")
    chosen = {
        "bboxes_3d": CameraInstance3DBoxes(kept[0], box_dim=9),
        **dict(zip(names, kept[1:], strict=True)),
    }
    boxes, attributes = upstream.cam_nusc_box_to_global(
        info, *upstream.output_to_nusc_box(chosen), classes, limits, _FRONT
    )
    named = [
        upstream.NuScenesMetric.get_attr_name(
            upstream.NuScenesMetric, int(attribute), classes[box.label]
        )
        for box, attribute in zip(boxes, attributes, strict=True)
    ]
    return Boxes.of(
        {
            "frame": [frame] * len(boxes),
            "label": [CLASSES.index(classes[box.label]) for box in boxes],
            "center_m": [box.center for box in boxes],
            "size_m": [box.wlh for box in boxes],
            "rotation": [box.orientation.elements for box in boxes],
            "velocity": [box.velocity[:2] for box in boxes],
            "score": [box.score for box in boxes],
            "attribute": [ATTRIBUTES.index(name) if name else NO_ATTRIBUTE for name in named],
            "points": [-1] * len(boxes),
        }
    )


def _check(found: Mapping[int, Found], place: int, camera: str, token: str) -> None:
    if place not in found:
        raise UserError(f"sample {token}: its {camera} was not tested; test all cameras of a frame")
    shape = tuple(found[place]["bboxes_3d"].tensor.shape)
    if shape[1:] != (9,) or "attr_labels" not in found[place]:
        raise UserError(
            f"sample {token}, {camera}: expected boxes with velocity and attribute, got shape "
            f"{shape} and {sorted(found[place])}; nuScenes scores both, so the detector has to "
            "predict them (pred_velo=True, pred_attrs=True)"
        )


def _tensor(boxes: Sequence[Any]) -> Tensor:
    """(N, 9) in the front camera's frame: middle, length height width, yaw, velocity x z."""
    rows = [
        [*box.center, *box.wlh[[1, 2, 0]], -box.orientation.yaw_pitch_roll[0], *box.velocity[::2]]
        for box in boxes
    ]
    return torch.tensor(rows, dtype=torch.float32).view(-1, 9)


def _scores(boxes: Sequence[Any]) -> Tensor:
    """(N, 11): of each class, the box's own alone, and of none."""
    scores = torch.zeros(len(boxes), len(CLASSES) + 1)
    for row, box in enumerate(boxes):
        scores[row, box.label] = float(box.score)
    return scores
