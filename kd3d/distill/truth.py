"""The ground truth of a batch in the one form that losses and masks read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kd3d.on_device import on_device

NAMES = {"boxes", "labels", "labelled"}


@dataclass(frozen=True, eq=False)
class Truth:
    """Boxes of B frames; of a frame without labels, those that the teacher added to it.

    Attributes:
        boxes: B tensors. Of points (N, 9): x y z dx dy dz yaw vx vy in metres of the LiDAR frame
            as augmented, z at the bottom, velocity 0 where unknown. Of images (N, 4): x1 y1 x2 y2
            in pixels of the network's input.
        labels: B tensors (N,), int64.
        labelled: (B,), bool: whether the labels are the frame's own.
        unknown: index of the frames of which nobody says what is there: without labels, and
            without the teacher's boxes in their place. Numbers, so that no step waits for a GPU.
    """

    boxes: list[Tensor]
    labels: list[Tensor]
    labelled: Tensor
    unknown: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        samples: Sequence[Any],  # Any: data samples
        device: torch.device,
        *,
        taught: Sequence[Any] | None = None,
        strangers: bool = False,
    ) -> "Truth":
        """Reads data samples of mmdet or mmdet3d; points come before images where both exist.

        mmdet3d labels an object of a class that the model does not know -1, and its losses pass
        over it; so do we.

        Args:
            samples: as the data set gives them.
            device: of the tensors.
            taught: the same with the teacher's boxes, which count in frames without labels only.
            strangers: keeps objects labelled -1. To take them out waits for a GPU; see
                :func:`has_strangers`.
        """
        read = [
            sample if is_labelled(sample) else other
            for sample, other in zip(samples, taught or samples, strict=True)
        ]
        boxes, labels = [], []
        for sample in read:
            if getattr(sample, "gt_instances_3d", None) is not None:
                found = _metric_objects(sample.gt_instances_3d, strangers=strangers)
            else:
                found = _pixel_boxes(sample.gt_instances), sample.gt_instances.labels
            boxes.append(found[0].to(device))
            labels.append(found[1].to(device).long())
        flags = [is_labelled(sample) for sample in samples]
        unknown = tuple(place for place, sample in enumerate(read) if not is_labelled(sample))
        return cls(boxes, labels, on_device(flags, device), unknown)

    @property
    def known(self) -> list[int]:
        """Index of all other frames than ``unknown``."""
        return [place for place in range(len(self.boxes)) if place not in self.unknown]

    def named(self) -> dict[str, list[Tensor] | Tensor]:
        """What losses and masks may ask for; see ``NAMES``."""
        return {"boxes": self.boxes, "labels": self.labels, "labelled": self.labelled}

    def of_known(self) -> "Truth":
        """Of those frames alone."""
        known = self.known
        return Truth(
            [self.boxes[place] for place in known],
            [self.labels[place] for place in known],
            self.labelled[on_device(known, self.labelled.device)],
        )


def is_labelled(sample: Any) -> bool:  # Any: a data sample
    """Whether a frame has labels; only ``Unlabelled`` says that one has none."""
    return bool(sample.metainfo.get("labelled", True))


def has_strangers(batch: Any) -> bool:  # Any: what a data loader gives
    """Whether an object of a batch is labelled -1; asked before the batch is on a GPU."""
    samples = batch.get("data_samples", ()) if isinstance(batch, dict) else ()
    frames = [getattr(sample, "gt_instances_3d", None) for sample in samples]
    labels = [getattr(frame, "labels_3d", None) for frame in frames]  # of segmentation: none
    return any(bool((found < 0).any()) for found in labels if found is not None)


def _metric_objects(instances: Any, *, strangers: bool) -> tuple[Tensor, Tensor]:
    boxes, labels = _metric_boxes(instances), instances.labels_3d
    if strangers or not len(labels):
        return boxes, labels
    known = labels >= 0
    return boxes[known], labels[known]


def _metric_boxes(instances: Any) -> Tensor:
    boxes = getattr(instances, "bboxes_3d", None)
    if boxes is None:
        return torch.zeros(0, 9)
    tensor: Tensor = getattr(boxes, "tensor", boxes)  # an Anchor3DHead's loss leaves the tensor
    velocity = tensor.new_zeros(len(tensor), 9 - tensor.shape[1])
    return torch.cat([tensor, velocity], dim=1).nan_to_num(nan=0.0)


def _pixel_boxes(instances: Any) -> Tensor:
    boxes = instances.bboxes
    tensor: Tensor = getattr(boxes, "tensor", boxes)
    return tensor
