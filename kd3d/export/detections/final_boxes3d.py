"""From the tensors of an exported 3D detector to its detections, as mmdet3d's heads do it.

This is what a vehicle has to redo after the network; ``steps`` says it in words and
``export.json`` carries the words beside the settings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kd3d.backends.base import Array
from kd3d.errors import UserError
from kd3d.export.detections.bev_nms import circle_nms, overlap_nms


@dataclass(frozen=True)
class Boxes3D:
    """Of one frame: boxes (M, 7 or 9) as the network gives them, scores (M,), labels (M,)."""

    boxes: Array
    scores: Array
    labels: Array

    def take(self, rows: Array) -> "Boxes3D":
        """Those of the given indices or mask."""
        return Boxes3D(self.boxes[rows], self.scores[rows], self.labels[rows])


@dataclass(frozen=True, kw_only=True)
class CenterPostProcessing:
    """How CenterPoint turns decoded cells into detections.

    Attributes:
        score_threshold: scores must be above it; None takes all.
        center_range_m: x y z minimum, then maximum, of the centre of a box.
        nms: "circle" or "rotate".
        circle_limits_m2: of each task, for "circle"; a negative one drops nothing.
        class_limits_m2: of each class, through all tasks; () where classes have none of their own.
        nms_score_threshold: for "rotate", scores must reach it; 0 takes all.
        nms_iou_threshold: for "rotate".
        nms_most_before: boxes of a task that enter, for "rotate"; None takes all.
        nms_most: boxes of a task that are kept; None keeps all.
        final_range_m: as center_range_m, for what NMS keeps; None where it is the same range.
    """

    score_threshold: float | None
    center_range_m: Sequence[float]
    nms: str
    circle_limits_m2: Sequence[float] = ()
    class_limits_m2: Sequence[float] = ()
    nms_score_threshold: float = 0.0
    nms_iou_threshold: float = 0.0
    nms_most_before: int | None = None
    nms_most: int | None = None
    final_range_m: Sequence[float] | None = None

    steps = (
        "For each task (consecutive runs of 'groups' rows): "
        "1. Keep rows with score > score_threshold whose centre (x, y, z + dz / 2) lies within "
        "center_range_m, its bounds included.",
        "2. Where there are class_limits_m2, for each class by itself: walk by falling score, drop "
        "a row whose squared distance in x, y to a kept one is at most the class's limit.",
        "3. nms circle: walk by falling score, drop a row whose squared distance in x, y to a "
        "kept one is at most the task's circle_limits_m2. nms rotate: drop scores below "
        "nms_score_threshold, take the nms_most_before best, walk by falling score, drop a row "
        "whose rotated rectangle (x, y, dx, dy, yaw) overlaps a kept one by IoU > "
        "nms_iou_threshold. Classes of a task suppress one another.",
        "4. Keep the nms_most best of the task, and of these what lies in final_range_m.",
    )

    def __call__(self, outputs: Mapping[str, Array], groups: Sequence[int]) -> Boxes3D:
        """Detections of one frame.

        Args:
            outputs: boxes (N, 7 or 9), scores (N,), labels (N,).
            groups: rows of each task.
        """
        rows = Boxes3D(outputs["boxes"], outputs["scores"], outputs["labels"])
        found, start = [], 0
        for task, size in enumerate(groups):
            part = rows.take(np.arange(start, start + size))
            part = part.take(_within(part.boxes, self.center_range_m))
            if self.score_threshold is not None:
                part = part.take(part.scores > np.float32(self.score_threshold))
            part = part.take(self._survivors_by_class(part))
            part = part.take(self._survivors(part, task))
            if self.final_range_m is not None:
                part = part.take(_within(part.boxes, self.final_range_m))
            found.append(part)
            start += size
        return _joined(found)

    def _survivors_by_class(self, rows: Boxes3D) -> Array:
        kept = np.full(len(rows.scores), not self.class_limits_m2)
        for label, limit in enumerate(self.class_limits_m2):
            own = np.flatnonzero(rows.labels == label)
            kept[own[circle_nms(rows.boxes[own, :2], rows.scores[own], limit, None)]] = True
        return kept

    def _survivors(self, rows: Boxes3D, task: int) -> Array:
        if self.nms == "circle":
            limit = self.circle_limits_m2[task]
            return circle_nms(rows.boxes[:, :2], rows.scores, limit, self.nms_most)
        high = np.flatnonzero(rows.scores >= np.float32(self.nms_score_threshold))
        kept = overlap_nms(
            rows.boxes[high],
            rows.scores[high],
            self.nms_iou_threshold,
            most_before=self.nms_most_before,
            most=self.nms_most,
        )
        return high[kept]


@dataclass(frozen=True, kw_only=True)
class AnchorPostProcessing:
    """How an anchor head turns decoded anchors into detections.

    Attributes:
        score_threshold: scores must be above it.
        nms: "rotate", or "upright" where every yaw is taken as 0.
        nms_iou_threshold: of the areas seen from above.
        most: detections kept.
    """

    score_threshold: float
    nms: str
    nms_iou_threshold: float
    most: int

    steps = (
        "1. For each class k by itself: of the rows with scores[:, k] > score_threshold, walk by "
        "falling score and drop those that overlap a kept one by IoU > nms_iou_threshold, seen "
        "from above. nms rotate: rectangles (x, y, dx, dy, yaw); upright: yaw taken as 0.",
        "2. Join the classes; where more than 'most' are left, keep those of highest score.",
    )

    def __call__(self, outputs: Mapping[str, Array], groups: Sequence[int]) -> Boxes3D:
        """Detections of one frame.

        Args:
            outputs: boxes (N, 7 or 9), scores (N, K).
            groups: rows of each level; all levels are taken together.
        """
        boxes, scores = outputs["boxes"], outputs["scores"]
        found = []
        for label in range(scores.shape[1]):
            rows = np.flatnonzero(scores[:, label] > np.float32(self.score_threshold))
            kept = overlap_nms(
                boxes[rows],
                scores[rows, label],
                self.nms_iou_threshold,
                rotated=self.nms == "rotate",
            )
            rows = rows[kept]
            labels = np.full(len(rows), label, dtype=np.int32)
            found.append(Boxes3D(boxes[rows], scores[rows, label], labels))
        joined = _joined(found)
        if len(joined.scores) <= self.most:
            return joined
        return joined.take(np.argsort(-joined.scores, kind="stable")[: self.most])


PostProcessing3D = CenterPostProcessing | AnchorPostProcessing
_KINDS = {"center": CenterPostProcessing, "anchor": AnchorPostProcessing}


def post_processing3d(head: Any) -> PostProcessing3D:
    """The settings in ``test_cfg`` and coder of an mmdet3d head.

    Raises:
        UserError: if the head has no ``test_cfg``.
    """
    settings = getattr(head, "test_cfg", None)
    if settings is None:
        raise UserError(f"{type(head).__name__} has no test_cfg; the config needs model.test_cfg")
    if not hasattr(head, "task_heads"):
        return AnchorPostProcessing(
            score_threshold=float(settings.get("score_thr", 0)),
            nms="rotate" if settings.use_rotate_nms else "upright",
            nms_iou_threshold=float(settings.nms_thr),
            most=int(settings.max_num),
        )
    coder, circle = head.bbox_coder, settings["nms_type"] == "circle"
    by_class = getattr(coder, "class_limits_m2", ())
    first = _limits(coder.post_center_range)
    second = first if circle else _limits(settings["post_center_limit_range"])
    return CenterPostProcessing(
        score_threshold=float(coder.score_threshold) if coder.score_threshold else None,
        center_range_m=first,
        nms=str(settings["nms_type"]),
        circle_limits_m2=[float(v) for v in settings["min_radius"]] if circle else (),
        class_limits_m2=[float(v) for task in by_class for v in task],
        nms_score_threshold=0.0 if circle else float(settings["score_threshold"]),
        nms_iou_threshold=0.0 if circle else float(settings["nms_thr"]),
        nms_most_before=None if circle else settings.get("pre_max_size"),
        nms_most=settings.get("post_max_size"),
        final_range_m=second if second and second != first else None,
    )


def _limits(values: Any) -> list[float]:
    """As the config has them: the coder replaces its own by a float32 tensor when it is used."""
    return [float(f"{float(value):.6g}") for value in values]


def settings_as_json(settings: PostProcessing3D) -> dict[str, Any]:
    """Plain values for export.json, with the steps in words."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(settings, cls))
    return {"kind": kind, **asdict(settings), "steps": list(settings.steps)}


def settings_from_json(content: Mapping[str, Any]) -> PostProcessing3D:
    """The reverse of ``settings_as_json``."""
    values = {key: value for key, value in content.items() if key not in ("kind", "steps")}
    settings: PostProcessing3D = _KINDS[content["kind"]](**values)
    return settings


def _within(boxes: Array, range_m: Sequence[float]) -> Array:
    """Boxes (mask) whose centre lies in a range, its bounds included."""
    center = np.stack([boxes[:, 0], boxes[:, 1], boxes[:, 2] + boxes[:, 5] * 0.5], 1)
    low, high = np.split(np.asarray(range_m, dtype=boxes.dtype), 2)
    within: Array = ((center >= low) & (center <= high)).all(1)
    return within


def _joined(parts: Sequence[Boxes3D]) -> Boxes3D:
    boxes, scores, labels = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("boxes", "scores", "labels")
    )
    return Boxes3D(boxes, scores, labels)
