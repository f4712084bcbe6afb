"""Masks say where a loss looks: weights over the cells of the teacher's BEV map."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kd3d.bev_boxes import inside_boxes
from kd3d.bev_grid import BevGrid
from kd3d.errors import UserError
from kd3d.heads.anchor3d import Anchor3DPrediction
from kd3d.heads.center import CenterPrediction
from kd3d.on_device import on_device
from kd3d.registry import MASKS


def gaussian_radii(sizes: Tensor, overlap: float) -> Tensor:
    """How far, in cells, a centre may move while the box keeps an overlap with itself.

    The smallest of three quadratic solutions (Law & Deng, 2018, CornerNet): both corners moved
    inwards, outwards, or together. As in the code of CenterNet, CenterPoint and mmdet3d the roots
    are divided by 2 instead of by twice the leading coefficient, because it is with those radii
    that the detectors draw their targets.

    Args:
        sizes: (N, 2) width and length in cells.
        overlap: IoU to keep, in (0, 1).

    Returns:
        (N,) in cells, not rounded.
    """
    total, area = sizes.sum(1), sizes.prod(1)
    radii = []
    for a, b, c in (
        (1.0, total, area * (1 - overlap) / (1 + overlap)),
        (4.0, 2 * total, area * (1 - overlap)),
        (4 * overlap, -2 * overlap * total, -area * (1 - overlap)),
    ):
        radii.append((b + (b.square() - 4 * a * c).clamp(min=0).sqrt()) / 2)
    return torch.stack(radii).amin(0)


def gaussian_foreground(
    boxes: Tensor, grid: BevGrid, *, overlap: float = 0.1, min_radius: int = 2
) -> Tensor:
    """Boxes drawn as Gaussians, the highest where they meet (Zhou et al., 2019, CenterNet).

    Each is centred in the cell that holds the box's centre, has deviation ``(2 r + 1) / 6`` and
    ends ``r`` cells from there, with r from ``gaussian_radii`` rounded down: as CenterPoint draws
    its targets.

    Args:
        boxes: (N, 5 or more) as x y z dx dy, in metres; yaw is not regarded. Boxes whose centre
            lies outside, or without a size, are left out.
        grid: the cells to draw on.
        overlap: of ``gaussian_radii``.
        min_radius: in cells.

    Returns:
        (rows, columns) in [0, 1].
    """
    cell_m = on_device([grid.cell_x_m, grid.cell_y_m], boxes.device, torch.float32)
    sizes = boxes[:, 3:5].float() / cell_m
    radius = gaussian_radii(sizes, overlap).floor().clamp(min=min_radius)[:, None]
    cell = grid.cell_of(boxes[:, :2].float()).floor()
    drawn = grid.contains(boxes[:, :2].float()) & (sizes > 0).all(1)
    rows = _bell(torch.arange(grid.rows, device=boxes.device) - cell[:, :1], radius)
    columns = _bell(torch.arange(grid.columns, device=boxes.device) - cell[:, 1:], radius)
    bells = rows[:, :, None] * columns[:, None, :] * drawn[:, None, None]
    none = bells.new_zeros(1, grid.rows, grid.columns)
    return torch.cat([none, bells]).amax(0)


def _bell(offset: Tensor, radius: Tensor) -> Tensor:
    """(N, cells) offsets and (N, 1) radii in cells to a Gaussian that ends at the radius."""
    sigma = (2 * radius + 1) / 6
    return torch.exp(-offset.square() / (2 * sigma.square())) * (offset.abs() <= radius)


def expect_bev(grid: BevGrid | None, mask: str) -> BevGrid:
    """The grid of a BEV map; raises UserError for an image."""
    if grid is None:
        raise UserError(
            f"{mask} draws boxes on a BEV map, but the pair's teacher has no point_cloud_range; "
            "use it with 3D detectors on BEV taps"
        )
    return grid


@MASKS.register_module()
class GaussianForeground(nn.Module):
    """Ground-truth boxes as Gaussians; see ``gaussian_foreground``.

    Args:
        background: weight of a cell that no box reaches, in [0, 1]; the rest is raised to it.
        overlap: of the radius, in (0, 1).
        min_radius: in cells.

    Frames of unknown boxes are left out of the pair, whatever ``background`` is: all of them would
    be background.
    """

    needs_boxes = True

    def __init__(
        self, *, background: float = 0.0, overlap: float = 0.1, min_radius: int = 2
    ) -> None:
        super().__init__()
        if not (0 <= background <= 1 and 0 < overlap < 1 and min_radius >= 0):
            raise UserError(
                "GaussianForeground: expected background in [0, 1], overlap in (0, 1) and "
                f"min_radius of at least 0, got {background}, {overlap} and {min_radius}"
            )
        self.background = background
        self.overlap = overlap
        self.min_radius = min_radius

    def forward(self, *, boxes: Sequence[Tensor], teacher_grid: BevGrid | None) -> Tensor:
        """(B, 1, H, W) weights on the teacher's grid.

        Args:
            boxes: of each frame (N, 9) as x y z dx dy dz yaw vx vy, in metres.
            teacher_grid: of the compared map.
        """
        grid = expect_bev(teacher_grid, "GaussianForeground")
        drawn = [
            gaussian_foreground(frame, grid, overlap=self.overlap, min_radius=self.min_radius)
            for frame in boxes
        ]
        return torch.stack(drawn)[:, None].clamp(min=self.background)


@MASKS.register_module()
class RegionMask(nn.Module):
    """Cells by what teacher and labels say of them, each region with its own weight.

    The region decomposition of DistillBEV (Wang et al., 2023): a cell is foreground by labels where
    its centre lies in a ground-truth box, or where it holds a box's centre; it is foreground by the
    teacher where any class scores above ``threshold``. They weigh true positives and false
    negatives by the size of their box, and false positives and background by their number. We
    divide each region's weight by the number of its cells in the frame, so that weights say how
    much a region counts as a whole, however large it is, and regions that are empty count nothing.

    In frames without labels nobody can say what is false: all that the teacher found counts as true
    positive, the rest as background.

    Args:
        true_positive: weight of the cells that both call foreground.
        false_positive: of those that only the teacher does.
        false_negative: of those that only the labels do.
        background: of the rest.
        threshold: of the teacher's score, in (0, 1).

    Give the mask's dict a tap of the teacher's head, such as ``teacher="pts_bbox_head"``.
    """

    needs_prediction = True

    def __init__(
        self,
        *,
        true_positive: float = 1.0,
        false_positive: float = 0.5,
        false_negative: float = 0.5,
        background: float = 0.25,
        threshold: float = 0.1,
    ) -> None:
        super().__init__()
        weights = (true_positive, false_positive, false_negative, background)
        if min(weights) < 0 or not 0 < threshold < 1:
            raise UserError(
                "RegionMask: expected weights of at least 0 and a threshold in (0, 1), "
                f"got {weights} and {threshold}"
            )
        self.weights = weights
        self.threshold = threshold

    def forward(
        self,
        *,
        boxes: Sequence[Tensor],
        labelled: Tensor,
        teacher_grid: BevGrid | None,
        prediction: CenterPrediction | Anchor3DPrediction,
    ) -> Tensor:
        """(B, 1, H, W) weights on the teacher's grid, whose sum is that of the regions present.

        Args:
            boxes: of each frame (N, 9) as x y z dx dy dz yaw vx vy, in metres.
            labelled: (B,) bool.
            teacher_grid: of the compared map.
            prediction: of the teacher.
        """
        grid = expect_bev(teacher_grid, "RegionMask")
        found = prediction.score_map(grid)[:, 0].detach() > self.threshold
        labels = torch.stack([box_cells(frame, grid) for frame in boxes])
        labels = torch.where(labelled.to(found.device)[:, None, None], labels, found)
        regions = (found & labels, found & ~labels, labels & ~found, ~found & ~labels)
        mask = torch.zeros_like(found, dtype=torch.float32)
        for region, weight in zip(regions, self.weights, strict=True):
            cells = region.flatten(1).sum(1).clamp(min=1)
            mask = mask + region * (weight / cells)[:, None, None]
        return mask[:, None]


def box_cells(boxes: Tensor, grid: BevGrid) -> Tensor:
    """Cells whose centre lies in a box, and the cell of each box's centre; (rows, columns) bool.

    Args:
        boxes: (N, 7 or more) as x y z dx dy dz yaw, in metres.
        grid: the cells.
    """
    boxes = boxes.float()
    x_m, y_m = grid.centers(boxes.device)
    xy_m = torch.stack(torch.meshgrid(x_m, y_m, indexing="xy"), dim=-1).flatten(0, 1)
    cells = inside_boxes(xy_m, boxes).any(0)
    place = grid.cell_of(boxes[:, :2]).floor().long()
    held = grid.contains(boxes[:, :2])
    index = (place[:, 0] * grid.columns + place[:, 1]).clamp(0, len(cells) - 1)
    cells = cells.float().scatter_reduce(0, index, held.float(), reduce="amax") > 0
    return cells.view(grid.rows, grid.columns)
