"""What a CenterHead predicts: one heatmap a class, and a box at every cell of each task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd3d.bev_grid import BevGrid
from kd3d.bev_sampling import covered, resample, same_grid
from kd3d.errors import UserError
from kd3d.on_device import on_device

_SMALLEST_SIZE_M = 1e-3  # below it a size that the head predicts as such has no logarithm


@dataclass(frozen=True, eq=False)
class CenterPrediction:
    """Output of a CenterHead (Yin et al., 2021, CenterPoint) for B frames on one grid.

    Attributes:
        logits: (B, K, H, W) heatmap logits, classes in the head's order, which is that of labels.
        regression: (B, T, 10, H, W) of each task, or 8 channels without velocity: centre x y in
            cells from the cell's lower edge, z of the middle in metres, size along x y z (its
            logarithm where ``log_size``), sine and cosine of yaw, velocity x y in m/s.
        tasks: the task of each class.
        class_names: of the K classes.
        grid: where the cells lie.
        log_size: whether the head predicts the logarithm of sizes (its ``norm_bbox``).
    """

    logits: Tensor
    regression: Tensor
    tasks: tuple[int, ...]
    class_names: tuple[str, ...]
    grid: BevGrid
    log_size: bool = True

    @property
    def has_velocity(self) -> bool:
        """Whether the head predicts velocities."""
        return self.regression.shape[2] == 10

    def scores(self) -> Tensor:
        """(B, K, H, W) probabilities in [0, 1]."""
        return self.logits.sigmoid()

    def peaks(self, count: int) -> "Peaks":
        """The highest local maxima of each frame and class, over 3 x 3 cells.

        Args:
            count: peaks a class; where a heatmap has fewer, the rest have score 0.
        """
        scores = self.scores()
        rows, columns = scores.shape[-2:]
        highest = F.max_pool2d(scores, kernel_size=3, stride=1, padding=1) == scores
        kept = (scores * highest).flatten(2)
        values, places = kept.topk(min(count, rows * columns), dim=-1)
        return Peaks(values, places // columns, places % columns)

    def codes_at(self, frames: Tensor, classes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """What the head says of a box at given cells, in metres, differentiably.

        Args:
            frames: (P,) index in the batch.
            classes: (P,) index of the class, which decides the task.
            rows: (P,) of the cell.
            columns: (P,) of the cell.

        Returns:
            (P, 10): x y z of the middle in metres, logarithm of the sizes along x y z in metres,
            sine and cosine of yaw as predicted, velocity x y in m/s (0 if the head has none).
        """
        task = on_device(self.tasks, classes.device)[classes]
        raw = self.regression[frames, task, :, rows, columns]
        grid = self.grid
        x_m = (columns + raw[:, 0]) * grid.cell_x_m + grid.x_min_m
        y_m = (rows + raw[:, 1]) * grid.cell_y_m + grid.y_min_m
        size = raw[:, 3:6] if self.log_size else raw[:, 3:6].clamp(min=_SMALLEST_SIZE_M).log()
        velocity = raw[:, 8:10] if self.has_velocity else torch.zeros_like(raw[:, 6:8])
        return torch.cat([x_m[:, None], y_m[:, None], raw[:, 2:3], size, raw[:, 6:8], velocity], 1)

    def score_map(self, grid: BevGrid) -> Tensor:
        """(B, 1, rows, columns) of any grid: the highest score of any class, 0 beyond our own."""
        best = resample(self.logits.amax(1, keepdim=True), self.grid, grid, reduce="max")
        return best.sigmoid() * covered(self.grid, grid, best.device)

    def detections(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The boxes at the highest peaks of each class, before any suppression.

        Args:
            count: peaks a class.

        Returns:
            (B, M, 9) bottom-centred boxes x y z dx dy dz yaw vx vy, (B, M) labels in the order of
            ``class_names``, and (B, M) scores, with M = K * count.
        """
        peaks = self.peaks(count)
        batch, classes, number = peaks.scores.shape
        codes = self.codes_at(*peaks.places())
        labels = torch.arange(classes, device=codes.device)[None, :, None].expand(batch, -1, number)
        boxes = boxes_from_codes(codes).view(batch, classes * number, 9)
        return boxes, labels.flatten(1), peaks.scores.flatten(1)


@dataclass(frozen=True, eq=False)
class Peaks:
    """Peaks of heatmaps: score, row and column, each (B, K, count), best first."""

    scores: Tensor
    rows: Tensor
    columns: Tensor

    def places(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Frame, class, row and column of every peak, each (B * K * count,)."""
        batch, classes, number = self.scores.shape
        device = self.scores.device
        frames = torch.arange(batch, device=device).repeat_interleave(classes * number)
        labels = torch.arange(classes, device=device).repeat_interleave(number).repeat(batch)
        return frames, labels, self.rows.flatten(), self.columns.flatten()


def boxes_from_codes(codes: Tensor) -> Tensor:
    """(P, 10) codes of ``CenterPrediction.codes_at`` to (P, 9) bottom-centred boxes.

    Returns:
        x y z dx dy dz yaw vx vy in metres, rad and m/s.
    """
    size = codes[:, 3:6].exp()
    bottom = codes[:, 2:3] - size[:, 2:3] / 2
    yaw = torch.atan2(codes[:, 6:7], codes[:, 7:8])
    return torch.cat([codes[:, :2], bottom, size, yaw, codes[:, 8:10]], dim=1)


def center_prediction(
    head: nn.Module, outputs: Sequence[Any], *, grid: BevGrid | None = None
) -> CenterPrediction:
    """Reads what ``CenterHead.forward`` returned.

    mmdet3d's loss takes the sigmoid of these heatmaps in place and replaces entries of the dicts:
    give what the head returned, or copies of it, from before the loss.

    Args:
        head: mmdet3d's CenterHead or a subclass that does not change the decoding.
        outputs: for each task a list with one level, a dict of (B, channels, H, W) maps.
        grid: the grid that model and map imply, to be checked against the box coder's.

    Returns:
        In float32, on the grid of the head's box coder.

    Raises:
        UserError: if the head has several levels, or its coder disagrees with ``grid``.
    """
    module: Any = head  # Any: attributes of an untyped library
    names = tuple(tuple(task) for task in module.class_names)
    levels = [_only_level(task) for task in outputs]
    logits = torch.cat([level["heatmap"] for level in levels], dim=1).float()
    on = _coder_grid(module.bbox_coder, logits)
    if grid is not None and not same_grid(grid, on):
        raise UserError(
            f"{type(head).__name__}: its box coder places the heatmap on {on}, but the model's "
            f"point_cloud_range makes it {grid}; check pc_range, voxel_size and out_size_factor "
            "of bbox_coder"
        )
    return CenterPrediction(
        logits,
        torch.stack([_regression(level) for level in levels], dim=1),
        tasks=tuple(task for task, members in enumerate(names) for _ in members),
        class_names=tuple(name for members in names for name in members),
        grid=on,
        log_size=bool(module.norm_bbox),
    )


def _only_level(task: Any) -> Mapping[str, Tensor]:
    levels = list(task) if isinstance(task, list | tuple) else [task]
    if len(levels) != 1 or not isinstance(levels[0], Mapping) or "heatmap" not in levels[0]:
        raise UserError(
            "expected the whole output of a CenterHead, a list of one dict with a heatmap for each "
            f"task, got {type(task).__name__} of {len(levels)}; tap the head itself, such as "
            "'pts_bbox_head'"
        )
    level: Mapping[str, Tensor] = levels[0]
    return level


def _regression(level: Mapping[str, Tensor]) -> Tensor:
    """(B, 8 or 10, H, W) of one task; without ``reg`` the centre is the cell's."""
    height = level["height"].float()
    offset = level["reg"] if "reg" in level else torch.full_like(height, 0.5).repeat(1, 2, 1, 1)
    parts = [offset, height, level["dim"], level["rot"]]
    if "vel" in level:
        parts.append(level["vel"])
    return torch.cat([part.float() for part in parts], dim=1)


def _coder_grid(coder: Any, logits: Tensor) -> BevGrid:
    rows, columns = (int(size) for size in logits.shape[-2:])
    x_min, y_min = (float(edge) for edge in coder.pc_range[:2])
    cell_x, cell_y = (float(size) * coder.out_size_factor for size in coder.voxel_size[:2])
    return BevGrid(x_min, y_min, x_min + columns * cell_x, y_min + rows * cell_y, rows, columns)
