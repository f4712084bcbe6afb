"""A coder for CenterPoint in which only boxes of one class suppress each other.

CenterHead's own suppression runs within a task, over all its classes: where a network is not yet
sure what an object is, the likelier class takes away the box of the rarer one, which then has no
box at all. nuScenes' configs escape by six tasks of one or two classes, each of which costs a head.

For MMDetection3D only: importing this module imports it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet3d.models.layers import circle_nms
from mmdet3d.models.task_modules.coders import CenterPointBBoxCoder
from torch import Tensor

from kd3d.registry import TASK_UTILS

# numba would compile it in every process anew, for seconds; without its compiler it is plain Python
if hasattr(circle_nms, "enable_caching"):
    circle_nms.enable_caching()


@TASK_UTILS.register_module()
class ClassNmsBBoxCoder(CenterPointBBoxCoder):
    """``CenterPointBBoxCoder`` followed by circle NMS in each class.

    CenterHead's suppression follows it; ``min_radius=[-1, ...]`` in ``test_cfg`` makes it drop
    nothing.

    Args:
        class_limits_m2: of each class of each task, the squared distance in x, y up to which the
            weaker of two boxes is dropped; mmdet3d's ``min_radius`` is such a square, too.
        settings: of ``CenterPointBBoxCoder``.
    """

    def __init__(self, *, class_limits_m2: Sequence[Sequence[float]], **settings: Any) -> None:
        super().__init__(**settings)
        self.class_limits_m2 = class_limits_m2

    def decode(self, *maps: Tensor, task_id: int = -1, **more: Any) -> list[dict[str, Tensor]]:
        """What ``CenterPointBBoxCoder.decode`` finds of one task, without the dropped boxes."""
        frames = super().decode(*maps, task_id=task_id, **more)
        return [_survivors(frame, self.class_limits_m2[task_id]) for frame in frames]


def _survivors(frame: dict[str, Tensor], limits_m2: Sequence[float]) -> dict[str, Tensor]:
    """Of the boxes of one task, what each class keeps, best first."""
    rows = torch.cat([frame["bboxes"][:, :2], frame["scores"][:, None]], 1).cpu().numpy()
    kept = torch.zeros(len(rows), dtype=torch.bool)
    for label, limit_m2 in enumerate(limits_m2):
        own = torch.nonzero(frame["labels"].cpu() == label)[:, 0]
        if len(own):
            kept[own[circle_nms(rows[own.numpy()], limit_m2, post_max_size=len(own))]] = True
    kept = kept.to(frame["scores"].device)
    return {name: values[kept] for name, values in frame.items()}
