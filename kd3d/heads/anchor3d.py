"""What an Anchor3DHead predicts: class scores, a box and a direction for every anchor."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from kd3d.bev_grid import BevGrid
from kd3d.bev_sampling import covered, resample
from kd3d.errors import UserError


@dataclass(frozen=True, eq=False)
class Anchor3DPrediction:
    """Output of an Anchor3DHead (Lang et al., 2019, PointPillars) for B frames and N anchors.

    Attributes:
        logits: (B, N, K) classification logits, each with its own sigmoid.
        deltas: (B, N, 7 or 9) of each anchor, as the head predicts them.
        directions: (B, N, 2) logits of the half turn that the box's yaw leaves open, or None.
        anchors: (N, 7 or 9) as x y z dx dy dz yaw, vx vy where velocities are predicted;
            bottom-centred, in metres.
        templates: sizes, rotations and scales of the anchors, to tell whether two heads agree.
        ranges: of the anchors' places, in metres, likewise.
        levels: rows and columns of each level, where anchors stand row by row, column by column,
            then template by template; None for heads that order them otherwise.
        maps: where the head's maps lie, one a level; of heads without levels one a template, whose
            anchors stand together. The anchors are theirs in turn, row by row, column by column;
            empty for a choice of anchors.
        direction_offset: yaw, in rad, from which the half turn is counted.
        direction_limit: share of the half turn by which it reaches below.
    """

    logits: Tensor
    deltas: Tensor
    directions: Tensor | None
    anchors: Tensor
    templates: tuple[tuple[float, ...], ...]
    ranges: tuple[tuple[float, ...], ...]
    levels: tuple[tuple[int, int], ...] | None
    maps: tuple[BevGrid, ...] = ()
    direction_offset: float = 0.0
    direction_limit: float = 0.0

    def scores(self) -> Tensor:
        """(B, N, K) probabilities in [0, 1]."""
        return self.logits.sigmoid()

    def detached(self, index: Tensor | None = None) -> "Anchor3DPrediction":
        """The same without gradient, at some of the anchors: (P,) index, or None for all."""
        pick = slice(None) if index is None else index
        directions = None if self.directions is None else self.directions.detach()[:, pick]
        return replace(
            self,
            logits=self.logits.detach()[:, pick],
            deltas=self.deltas.detach()[:, pick],
            directions=directions,
            anchors=self.anchors[pick],
            levels=self.levels if index is None else None,
            maps=self.maps if index is None else (),
        )

    def codes_at(self, frames: Tensor, places: Tensor) -> Tensor:
        """What the head says of the box of given anchors, in metres, differentiably.

        Args:
            frames: (P,) index in the batch.
            places: (P,) index of the anchor.

        Returns:
            (P, 9): x y z of the middle in metres, logarithm of the sizes along x y z in metres,
            yaw in rad, but for a half turn, velocity x y in m/s (0 if the head has none).
        """
        delta, anchor = self.deltas[frames, places], self.anchors[places]
        size = anchor[:, 3:6]
        middle = torch.cat([anchor[:, :2], anchor[:, 2:3] + size[:, 2:] / 2], dim=1)
        diagonal = size[:, :2].square().sum(1, keepdim=True).sqrt()
        step = torch.cat([diagonal, diagonal, size[:, 2:]], dim=1)
        yaw = anchor[:, 6:7] + delta[:, 6:7]
        velocity = anchor[:, 7:9] + delta[:, 7:9]
        if velocity.shape[1] == 0:
            velocity = torch.zeros_like(delta[:, :2])
        return torch.cat(
            [middle + delta[:, :3] * step, size.log() + delta[:, 3:6], yaw, velocity], 1
        )

    def boxes_at(self, frames: Tensor, places: Tensor) -> Tensor:
        """(P, 9) bottom-centred boxes x y z dx dy dz yaw vx vy, turned as the direction says."""
        codes = self.codes_at(frames, places)
        size = codes[:, 3:6].exp()
        bottom = codes[:, 2:3] - size[:, 2:] / 2
        yaw = codes[:, 6:7]
        if self.directions is not None:
            half_turns = self.directions[frames, places].argmax(-1, keepdim=True)
            beyond = yaw - self.direction_offset
            turns = torch.floor(beyond / math.pi + self.direction_limit)
            yaw = yaw + (half_turns - turns) * math.pi
        return torch.cat([codes[:, :2], bottom, size, yaw, codes[:, 7:9]], dim=1)

    def detections(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The boxes of the anchors with the highest score of any class, without suppression.

        Args:
            count: boxes a frame and class, so that they are as many as those of a CenterHead.

        Returns:
            (B, M, 9) bottom-centred boxes x y z dx dy dz yaw vx vy, (B, M) labels and (B, M)
            scores, with M = K * count, or all anchors if they are fewer.
        """
        batch, anchors, classes = self.logits.shape
        best, labels = self.scores().max(-1)
        scores, places = best.topk(min(classes * count, anchors), dim=1)
        frames = torch.arange(batch, device=places.device).repeat_interleave(places.shape[1])
        boxes = self.boxes_at(frames, places.flatten())
        return boxes.view(batch, -1, 9), labels.gather(1, places), scores

    def score_map(self, grid: BevGrid) -> Tensor:
        """(B, 1, rows, columns) of any grid: the highest score of any anchor, 0 beyond our own.

        An anchor counts in the cell of the head's map that predicts it, wherever it stands:
        mmdet3d's Anchor3DRangeGenerator spreads them from edge to edge, the last on the far edge.
        """
        assert self.maps, "a choice of anchors makes no map"
        best = self.logits.amax(-1)
        templates = best.shape[1] // sum(own.rows * own.columns for own in self.maps)
        anchors = [own.rows * own.columns * templates for own in self.maps]
        parts = torch.split(best, anchors, dim=1)
        drawn = []
        for own, part in zip(self.maps, parts, strict=True):
            level = part.view(len(part), 1, own.rows, own.columns, templates).amax(-1)
            score = resample(level, own, grid, reduce="max").sigmoid()
            drawn.append(score * covered(own, grid, score.device))
        return torch.stack(drawn).amax(0)


def anchor3d_prediction(
    head: nn.Module, outputs: Sequence[Any], *, grid: BevGrid | None = None
) -> Anchor3DPrediction:
    """Reads what the forward of an Anchor3DHead or of SSN's ShapeAwareHead returned.

    Args:
        head: mmdet3d's Anchor3DHead or a subclass that does not change the decoding.
        outputs: scores, deltas and directions, each a list of levels: (B, channels, H, W) maps,
            or (B, N, channels) of a ShapeAwareHead.
        grid: of any of the head's maps, to tell what they cover; None for the anchors' range.

    Returns:
        In float32, anchors in mmdet3d's order.

    Raises:
        UserError: if the head's classes exclude each other or its box coder is not known.
    """
    module: Any = head  # Any: attributes of an untyped library
    coder = type(module.bbox_coder).__name__
    if coder != "DeltaXYZWLHRBBoxCoder" or not module.use_sigmoid_cls:
        raise UserError(
            f"cannot decode {type(head).__name__} with the box coder {coder} and "
            f"use_sigmoid={module.use_sigmoid_cls}; expected DeltaXYZWLHRBBoxCoder and sigmoid "
            "classes; distil its features instead"
        )
    scores, deltas, directions = outputs
    code = int(module.box_code_size)
    flat = scores[0].dim() == 3  # a ShapeAwareHead has already joined its tasks
    sizes = module.featmap_sizes if flat else [tuple(level.shape[-2:]) for level in scores]
    sizes = [(int(rows), int(columns)) for rows, columns in sizes]
    known = directions is not None and directions[0] is not None
    return Anchor3DPrediction(
        _positions(scores, int(module.num_classes)),
        _positions(deltas, code),
        _positions(directions, 2) if known else None,
        _anchors(module.prior_generator, sizes, scores[0].device, code),
        templates=_templates(module.prior_generator),
        ranges=tuple(tuple(float(edge) for edge in r) for r in module.prior_generator.ranges),
        levels=None if flat else tuple(sizes),
        maps=_maps(module.prior_generator, sizes, grid, flat=flat),
        direction_offset=float(module.dir_offset),
        direction_limit=float(module.dir_limit_offset),
    )


def _positions(levels: Sequence[Tensor], channels: int) -> Tensor:
    """Levels (B, A * channels, H, W), or (B, N, channels), to (B, all N, channels) in float32."""
    rows = [
        level if level.dim() == 3 else level.permute(0, 2, 3, 1).reshape(len(level), -1, channels)
        for level in levels
    ]
    return torch.cat(rows, dim=1).float()


def _anchors(generator: Any, sizes: Any, device: torch.device, code: int) -> Tensor:
    anchors = []
    for level in generator.grid_anchors(sizes, device=device):
        parts = level if isinstance(level, list) else [level]  # one a class, or all of them
        anchors += [part.reshape(-1, code) for part in parts]
    return torch.cat(anchors).float()


def _maps(
    generator: Any, sizes: Sequence[tuple[int, int]], grid: BevGrid | None, *, flat: bool
) -> tuple[BevGrid, ...]:
    """Of each level, or of each class and rotation of a ShapeAwareHead, what its map covers."""
    over = BevGrid.over(generator.ranges[0], sizes[0]) if grid is None else grid
    times = len(generator.rotations) if flat else 1
    return tuple(replace(over, rows=r, columns=c) for r, c in sizes for _ in range(times))


def _templates(generator: Any) -> tuple[tuple[float, ...], ...]:
    sizes = map(tuple, torch.tensor(generator.sizes).reshape(-1, 3).tolist())
    rotations = tuple(float(yaw) for yaw in generator.rotations)
    return (*sizes, rotations, tuple(float(scale) for scale in generator.scales))
