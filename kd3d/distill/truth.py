"""The ground truth of a batch in the one form that losses and masks read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Truth:
    """Boxes of B frames; frames without labels have none.

    Attributes:
        boxes: B tensors. Of points (N, 9): x y z dx dy dz yaw vx vy in metres of the LiDAR frame
            as augmented, z at the bottom, velocity 0 where unknown. Of images (N, 4): x1 y1 x2 y2
            in pixels of the network's input.
        labels: B tensors (N,), int64.
        labelled: (B,), bool.
    """

    boxes: list[Tensor]
    labels: list[Tensor]
    labelled: Tensor

    @classmethod
    def of(cls, samples: Sequence[Any], device: torch.device) -> "Truth":  # Any: data samples
        """Reads data samples of mmdet or mmdet3d; points come before images where both exist."""
        boxes, labels = [], []
        for sample in samples:
            if getattr(sample, "gt_instances_3d", None) is not None:
                found = _metric_boxes(sample.gt_instances_3d), sample.gt_instances_3d.labels_3d
            else:
                found = _pixel_boxes(sample.gt_instances), sample.gt_instances.labels
            boxes.append(found[0].to(device))
            labels.append(found[1].to(device).long())
        flags = [is_labelled(sample) for sample in samples]
        return cls(boxes, labels, torch.tensor(flags, device=device))


def is_labelled(sample: Any) -> bool:  # Any: a data sample
    """Whether a frame has labels; only ``Unlabelled`` says that one has none."""
    return bool(sample.metainfo.get("labelled", True))


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
