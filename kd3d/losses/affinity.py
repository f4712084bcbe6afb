"""Affinity: how alike the cells, or the boxes, of a frame are to each other."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd3d.bev_boxes import box_points
from kd3d.bev_grid import BevGrid
from kd3d.bev_sampling import sample_at
from kd3d.errors import UserError
from kd3d.losses.arguments import expect_grids
from kd3d.losses.bev import expect_mask
from kd3d.losses.precision import in_float32
from kd3d.registry import LOSSES

_SMALLEST_NORM = 1e-6  # a feature of zeros has cosine 0 with everything


@in_float32
def affinity_distance(student: Tensor, teacher: Tensor, valid: Tensor) -> Tensor:
    """Squared difference of the cosine affinities between positions (Tung & Mori, 2019).

    There it is between the samples of a batch; Yang et al. (2022, SparseKD) and Wang et al. (2023,
    DistillBEV) try it within BEV maps. Similarities only are compared, so channels may differ and
    no connector is needed. We average over pairs of valid positions.

    Args:
        student: (B, C, P) features of P positions.
        teacher: (B, C', P), the target; no gradient flows into it.
        valid: (B, P) bool or 0 and 1.

    Returns:
        Scalar in [0, 4], averaged over pairs of a frame, then over B; a frame without positions
        counts as 0.
    """
    weight = valid.to(torch.float32)
    pairs = weight[:, :, None] * weight[:, None, :]
    apart = (_affinity(student) - _affinity(teacher.detach())).square()
    return ((apart * pairs).flatten(1).sum(1) / pairs.flatten(1).sum(1).clamp(min=1)).mean()


def _affinity(features: Tensor) -> Tensor:
    unit = F.normalize(features, dim=1, eps=_SMALLEST_NORM)
    return unit.transpose(1, 2) @ unit


def heaviest_cells(mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The cells of each frame that weigh most, and whether they weigh anything.

    Args:
        mask: (B, 1, H, W) weights of at least 0.
        count: cells a frame at most.

    Returns:
        (B, P) index of the flattened cell, and (B, P) bool.
    """
    flat = mask.flatten(1)
    weights, places = flat.topk(min(count, flat.shape[1]), dim=1)
    return places, weights > 0


def spread_cells(rows: int, columns: int, count: int, device: torch.device | None = None) -> Tensor:
    """At most ``count`` cells on a lattice over the whole map, (P,) index of the flattened cell."""
    step = 1
    while -(-rows // step) * -(-columns // step) > count:
        step += 1
    row = torch.arange((rows - 1) % step // 2, rows, step, device=device)
    column = torch.arange((columns - 1) % step // 2, columns, step, device=device)
    return (row[:, None] * columns + column).flatten()


@LOSSES.register_module()
class Affinity(nn.Module):
    """Pairwise cosine affinity; see ``affinity_distance``.

    Args:
        between: "cells" of the teacher's map: those that weigh most in the pair's mask, or, without
            a mask, a lattice over the whole map; or "boxes": ground truth, each with the mean of
            the features at its corners, midpoints of edges and centre.
        positions: a frame at most; the matrices grow with its square.

    Maps are read by metres where they have grids, so the pair's ``connector=None`` will do, and
    spares resampling the student's. Positions beyond the student's range are left out.
    """

    def __init__(
        self, *, between: Literal["cells", "boxes"] = "cells", positions: int = 256
    ) -> None:
        super().__init__()
        if between not in ("cells", "boxes") or positions < 2:
            raise UserError(
                'Affinity: expected between="cells" or "boxes" and at least 2 positions, '
                f"got {between!r} and {positions}"
            )
        self.between = between
        self.positions = positions

    @property
    def needs_boxes(self) -> bool:
        """Whether frames of unknown boxes cannot be compared."""
        return self.between == "boxes"

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        boxes: list[Tensor] | None = None,
        mask: Tensor | None = None,
        student_grid: BevGrid | None = None,
        teacher_grid: BevGrid | None = None,
        student_range: BevGrid | None = None,
    ) -> Tensor:
        """Scalar loss of two maps (B, C, H, W) and (B, C', H', W').

        Args:
            student: on ``student_grid``.
            teacher: on ``teacher_grid``.
            boxes: of each frame, for those between boxes.
            mask: (B, 1, H', W'), weights of the teacher's cells.
            student_grid: None for images.
            teacher_grid: None for images.
            student_range: what the student sees; None for ``student_grid``.
        """
        if len(student) != len(teacher):
            raise UserError(
                f"expected maps of the same frames, got student {tuple(student.shape)} and teacher "
                f"{tuple(teacher.shape)}; tap what is made once for each frame"
            )
        if self.between == "boxes":
            if boxes is None:
                raise UserError("Affinity between boxes needs labels; use between='cells'")
            own, other = expect_grids(student_grid, teacher_grid, "Affinity between boxes")
            return self._between_boxes(student, teacher, boxes, own, other, student_range or own)
        places, valid = self._cells(teacher, mask)
        t = _picked(teacher, places)
        if student_grid is not None and teacher_grid is not None:
            xy_m = _centres(teacher_grid, places)
            valid = valid & (student_range or student_grid).contains(xy_m)
            return affinity_distance(sample_at(student, student_grid, xy_m), t, valid)
        if student.shape[2:] != teacher.shape[2:]:
            raise UserError(
                f"expected equal shapes but for the channels, got student {tuple(student.shape)} "
                f"and teacher {tuple(teacher.shape)}; add a Resize connector to the pair"
            )
        return affinity_distance(_picked(student, places), t, valid)

    def _cells(self, teacher: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        if mask is not None:
            return heaviest_cells(expect_mask(mask, teacher[:, :1]), self.positions)
        rows, columns = teacher.shape[-2:]
        places = spread_cells(rows, columns, self.positions, teacher.device)
        places = places.expand(len(teacher), -1)
        return places, torch.ones_like(places, dtype=torch.bool)

    def _between_boxes(
        self,
        student: Tensor,
        teacher: Tensor,
        boxes: list[Tensor],
        student_grid: BevGrid,
        teacher_grid: BevGrid,
        student_range: BevGrid,
    ) -> Tensor:
        frames = []
        for index, frame in enumerate(boxes):
            points = box_points(frame[: self.positions].float())[None]
            valid = student_range.contains(points) & teacher_grid.contains(points)
            s = _pooled(student[index : index + 1], student_grid, points, valid)
            t = _pooled(teacher[index : index + 1], teacher_grid, points, valid)
            frames.append(affinity_distance(s, t, valid.any(-1)))
        return torch.stack(frames).mean()


def _picked(value: Tensor, places: Tensor) -> Tensor:
    """(B, C, H, W) at (B, P) flattened cells: (B, C, P)."""
    return value.flatten(2).gather(2, places[:, None].expand(-1, value.shape[1], -1))


def _centres(grid: BevGrid, places: Tensor) -> Tensor:
    """(B, P) flattened cells to (B, P, 2) x and y in metres."""
    x_m, y_m = grid.centers(places.device)
    return torch.stack([x_m[places % grid.columns], y_m[places // grid.columns]], dim=-1)


def _pooled(value: Tensor, grid: BevGrid, points: Tensor, valid: Tensor) -> Tensor:
    """(1, C, N): mean of the features at the valid ones of (1, N, 9, 2) points."""
    weight = valid[:, None].float()
    return (sample_at(value, grid, points) * weight).sum(-1) / weight.sum(-1).clamp(min=1)
