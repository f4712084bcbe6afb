"""Features at nine points of each box, and how those points relate to each other."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd3d.bev_boxes import box_points
from kd3d.bev_grid import BevGrid
from kd3d.bev_sampling import sample_at
from kd3d.errors import UserError
from kd3d.losses.arguments import expect_grids
from kd3d.losses.precision import in_float32
from kd3d.registry import LOSSES

_SMALLEST_NORM = 1e-6  # a feature of zeros has cosine 0 with everything


@in_float32
def box_point_distance(
    student: Tensor,
    teacher: Tensor,
    boxes: list[Tensor],
    student_grid: BevGrid,
    teacher_grid: BevGrid,
    relation_weight: float = 1.0,
    student_range: BevGrid | None = None,
) -> Tensor:
    """L1 at nine points of each ground-truth box, with a relation term (Zhou et al., 2023).

    UniDistill reads a low-level BEV map at corners, midpoints of edges and centre of each box and
    takes the L1 distance; for a high-level map it compares the matrices of similarity between the
    points of a box. We do both on one map. Points are read by metres from either grid, so no
    alignment is needed, only equal channels. We average over the points that both models see, and
    similarities are cosines.

    Args:
        student: (B, C, H, W).
        teacher: (B, C, H', W'), the target; no gradient flows into it.
        boxes: of each frame (N, 7 or more) as x y z dx dy dz yaw, in metres.
        student_grid: of ``student``.
        teacher_grid: of ``teacher``.
        relation_weight: of the relation, which is in [0, 2] before.
        student_range: what the student sees, where a connector has brought its map to a larger
            grid; None for ``student_grid``.

    Returns:
        Scalar, averaged over C and points (pairs of points in a box) of a frame, then over B; a
        frame without boxes counts as 0.

    Raises:
        UserError: if batch or channels differ.
    """
    if student.shape[:2] != teacher.shape[:2]:
        raise UserError(
            f"expected equal frames and channels, got student {tuple(student.shape)} and teacher "
            f"{tuple(teacher.shape)}; add a connector to the pair"
        )
    seen = student_range or student_grid
    frames = []
    for index, frame in enumerate(boxes):
        points = box_points(frame)
        s = sample_at(student[index : index + 1], student_grid, points[None])[0]  # (C, N, 9)
        t = sample_at(teacher[index : index + 1].detach(), teacher_grid, points[None])[0]
        valid = (seen.contains(points) & teacher_grid.contains(points)).float()
        apart = ((s - t).abs().mean(0) * valid).sum() / valid.sum().clamp(min=1)
        pairs = valid[:, :, None] * valid[:, None, :]
        related = ((_cosines(s) - _cosines(t)).abs() * pairs).sum() / pairs.sum().clamp(min=1)
        frames.append(apart + relation_weight * related)
    return torch.stack(frames).mean()


def _cosines(features: Tensor) -> Tensor:
    """(C, N, 9) to (N, 9, 9) between the points of each box."""
    unit = F.normalize(features, dim=0, eps=_SMALLEST_NORM)
    return torch.einsum("cnp,cnq->npq", unit, unit)


@LOSSES.register_module()
class BoxPoints(nn.Module):
    """See ``box_point_distance``.

    Args:
        relation_weight: of the relation between a box's points.
    """

    needs_boxes = True

    def __init__(self, *, relation_weight: float = 1.0) -> None:
        super().__init__()
        self.relation_weight = relation_weight

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        boxes: list[Tensor],
        student_grid: BevGrid | None,
        teacher_grid: BevGrid | None,
        student_range: BevGrid | None = None,
    ) -> Tensor:
        """Scalar loss of two maps (B, C, H, W) on their grids, and the boxes of each frame."""
        grids = expect_grids(student_grid, teacher_grid, "BoxPoints")
        return box_point_distance(
            student, teacher, boxes, *grids, self.relation_weight, student_range
        )
