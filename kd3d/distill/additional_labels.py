"""Boxes that the teacher is sure of, as labels of the student in addition to its own."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.structures import InstanceData

from kd3d.distill.recorder import Tap
from kd3d.distill.truth import Truth, is_labelled
from kd3d.errors import UserError
from kd3d.heads.teacher_boxes import TeacherBoxes, teacher_boxes

_OPTIONS = {
    name
    for name, parameter in inspect.signature(teacher_boxes).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}


class AdditionalLabels:
    """Adds the teacher's boxes to the data samples that the student's task loss reads.

    Args:
        teacher: tap on the teacher's head.
        class_names: of the student, in the order of its labels.
        unlabelled: whether frames without labels get the boxes too, and so take part in the task
            loss; else they are left as they are.
        options: of :func:`kd3d.heads.teacher_boxes.teacher_boxes`.
    """

    def __init__(
        self,
        teacher: Tap,
        class_names: Sequence[str],
        *,
        unlabelled: bool,
        options: Mapping[str, Any],
    ) -> None:
        self.teacher, self.class_names = teacher, tuple(class_names)
        self.unlabelled, self.options = unlabelled, dict(options)

    def check_names(self, names: Sequence[str], declared: int | None, *, where: str) -> None:
        """Whether the teacher knows each class of the student by the same name.

        Args:
            names: of the teacher's classes, where its head knows them by name.
            declared: how many the config says there are; some may then be missing, not all.
            where: named in errors.

        Raises:
            UserError: it does not, so that none of its boxes would become a label of that class.
        """
        absent = [name for name in self.class_names if name not in names]
        if absent and (declared is None or len(absent) == len(self.class_names)):
            raise UserError(
                f"{where}: additional_labels: the teacher's head knows no class {absent}, so it "
                f"would add no box of them (it has {list(names)}); give a teacher of the student's "
                "classes, or, where it knows some of them, say that this is meant: "
                f"teacher=dict(..., num_classes={len(names)})"
            )

    def __call__(self, samples: Sequence[Any], prediction: Any) -> list[Any]:
        """New data samples; the given ones stay as they are.

        Args:
            samples: B data samples of mmdet3d.
            prediction: the teacher's decoded head for the same frames.

        Raises:
            UserError: the head is one of images.
        """
        if not hasattr(prediction, "detections"):
            raise UserError(
                f"additional_labels: the teacher's {self.teacher.text!r} is a head of images; only "
                "boxes in metres (CenterHead, Anchor3DHead) can be added"
            )
        truth = Truth.of(samples, prediction.logits.device, strangers=True)  # they have their box
        found = teacher_boxes(prediction, truth.boxes, self.class_names, **self.options)
        return [
            _with_boxes(sample, boxes) if self.unlabelled or is_labelled(sample) else sample
            for sample, boxes in zip(samples, found, strict=True)
        ]


def additional_labels(
    config: Mapping[str, Any], class_names: Sequence[str], *, where: str
) -> AdditionalLabels:
    """Reads what a config gives.

    Args:
        config: ``teacher`` (tap on its head, "pts_bbox_head"), ``unlabelled`` (False) and options
            such as ``score_threshold``.
        class_names: of the student.
        where: named in errors.

    Raises:
        UserError: it is no dict, a key is unknown, or a score threshold is not in [0, 1).
    """
    if not isinstance(config, Mapping):
        raise UserError(
            f"{where}: expected additional_labels=dict(teacher='pts_bbox_head', "
            f"score_threshold=...), got {config!r}"
        )
    settings = {key: value for key, value in config.items() if key != "_scope_"}
    tap = Tap.parse(settings.pop("teacher", "pts_bbox_head"))
    unlabelled = bool(settings.pop("unlabelled", False))
    unknown = set(settings) - _OPTIONS
    if unknown:
        known = sorted({"teacher", "unlabelled", *_OPTIONS})
        raise UserError(f"{where}: additional_labels: unknown {sorted(unknown)}; it has {known}")
    _check_threshold(settings.get("score_threshold", 0.3), where)
    return AdditionalLabels(tap, class_names, unlabelled=unlabelled, options=settings)


def added_boxes(samples: Sequence[Any], taught: Sequence[Any]) -> int:
    """How many labels ``taught`` has more than ``samples``, the same frames before."""
    if taught is samples:
        return 0
    return sum(map(_labels, taught)) - sum(map(_labels, samples))


def _labels(sample: Any) -> int:
    return len(sample.gt_instances_3d.labels_3d)


def _check_threshold(given: Any, where: str) -> None:  # Any: what a config gives
    for value in given.values() if isinstance(given, Mapping) else [given]:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < 1:
            raise UserError(
                f"{where}: additional_labels: score_threshold is {given!r}, expected a number in "
                "[0, 1), or one for each class: scores are at most 1"
            )


def _with_boxes(sample: Any, found: TeacherBoxes) -> Any:  # Any: data samples
    own = sample.gt_instances_3d
    kind, columns = type(own.bboxes_3d), own.bboxes_3d.tensor.shape[1]
    boxes = torch.cat([own.bboxes_3d.tensor, found.boxes[:, :columns].to(own.bboxes_3d.tensor)])
    instances = InstanceData()
    instances.bboxes_3d = kind(boxes, box_dim=columns)
    instances.labels_3d = torch.cat([own.labels_3d, found.labels.to(own.labels_3d)])
    new = sample.new()
    new.gt_instances_3d = instances
    new.set_metainfo({"labelled": True})
    return new
