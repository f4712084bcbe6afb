"""The scene of a batch: what a pair's parts may ask for by name, besides the two taps."""

from dataclasses import dataclass
from typing import Any

from kd3d.bev_grid import BevGrid
from kd3d.distill.bev_extent import Extent, grid_of
from kd3d.distill.truth import Truth


@dataclass(frozen=True, eq=False)
class Scene:
    """What a pair's parts may ask for by name, besides the two taps.

    Attributes:
        truth: boxes and labels of the batch; None where no part of any pair reads them.
        student_extent: what the student's BEV maps cover; None for images.
        teacher_extent: likewise of the teacher's.
        guide: the teacher's decoded head for a mask that wants it.
    """

    truth: Truth | None = None
    student_extent: Extent | None = None
    teacher_extent: Extent | None = None
    guide: Any = None  # Any: a prediction of the head's kind


def grids(student: Any, teacher: Any, scene: Scene) -> dict[str, BevGrid]:
    """``student_grid`` and ``teacher_grid`` of two taps; empty unless both are BEV maps."""
    own = grid_of(student, scene.student_extent)
    other = grid_of(teacher, scene.teacher_extent)
    if own is None or other is None:
        return {}
    return {"student_grid": own, "teacher_grid": other}
