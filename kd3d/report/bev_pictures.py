"""Pictures from above: LiDAR points in grey, objects, and the boxes of each model beside it."""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kd3d.report.bev_frames import BevBoxes, BevFrame, bev_frames, match
from kd3d.report.summary import Summary

RANGE_M = 52.0  # from the LiDAR to each side of a picture; the farthest boxes count up to 50 m
_UNITS = 10.0  # of the picture, a metre
_PIXELS = 5.0  # of the image of the points, a metre
_RINGS_M = (20, 40)
_GREY = 150
_EGO_M = ((-0.9, 2.6), (0.9, 2.6), (0.9, -1.7), (-0.9, -1.7))  # a car around its LiDAR


def bev_pictures(summary: Summary) -> tuple[list[str], str]:
    """One row of panels a frame, a panel a model.

    Returns:
        (rows as HTML, "") or ([], what is missing).
    """
    frames, reason = bev_frames(summary)
    return [_picture(frame, number) for number, frame in enumerate(frames)], reason


def point_image(points_m: NDArray[np.float32]) -> bytes:
    """Points as a PNG that is transparent where there are none, y upwards.

    Args:
        points_m: (P, 2) x to the right, y ahead; those out of the picture are left out.
    """
    side = int(2 * RANGE_M * _PIXELS)
    cell = np.floor((points_m + RANGE_M) * _PIXELS).astype(np.int64)
    cell = cell[((cell >= 0) & (cell < side)).all(axis=1)]
    count = np.zeros((side, side), dtype=np.int64)
    np.add.at(count, (side - 1 - cell[:, 1], cell[:, 0]), 1)
    alpha = np.where(count > 0, np.minimum(255, 120 + 45 * count), 0).astype(np.uint8)
    picture = Image.merge("LA", (Image.new("L", (side, side), _GREY), Image.fromarray(alpha)))
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _picture(frame: BevFrame, number: int) -> str:
    """The points are embedded once and used by all panels."""
    data = base64.b64encode(point_image(frame.points_m)).decode("ascii")
    side = 2 * RANGE_M * _UNITS
    definition = (
        f'<svg width="0" height="0" class="hidden"><defs><image id="bev-{number}" '
        f'width="{side:g}" height="{side:g}" href="data:image/png;base64,{data}"/></defs></svg>'
    )
    panels = [_panel(frame, number, role, boxes) for role, boxes in frame.found.items()]
    title = f"{frame.title}: {len(frame.objects.score)} objects"
    if not len(frame.points_m):
        title += "; the LiDAR's file is not here"
    return (
        f'{definition}<p class="soft">{escape(title)}</p>'
        f'<div class="panels bev">{"".join(panels)}</div>'
    )


def _panel(frame: BevFrame, number: int, role: str, boxes: BevBoxes) -> str:
    taken = match(frame.objects, boxes)
    found = {int(index) for index in taken if index >= 0}
    caption = (
        f"{role}: {len(found)} of {len(frame.objects.score)} found, {int((taken < 0).sum())} false"
    )
    numbers = range(len(frame.objects.score))
    objects = ["object" if index in found else "object missed" for index in numbers]
    own = [f"role-{role}" if index >= 0 else f"role-{role} false" for index in taken]
    drawn = [*_outlines(frame.objects, objects), *_outlines(boxes, own)]
    side = 2 * RANGE_M * _UNITS
    return (
        f'<figure><svg viewBox="0 0 {side:g} {side:g}" role="img" '
        f'aria-label="{escape(caption)}"><use href="#bev-{number}"/>{_ground()}{"".join(drawn)}'
        f"</svg><figcaption>{escape(caption)}</figcaption></figure>"
    )


def _ground() -> str:
    """Range rings and the ego vehicle."""
    x, y = _at((0.0, 0.0))
    rings = "".join(
        f'<circle class="ring" cx="{x:g}" cy="{y:g}" r="{radius_m * _UNITS:g}"/>'
        f'<text class="ring-name" x="{x:g}" y="{y - radius_m * _UNITS - 6:g}" '
        f'text-anchor="middle">{radius_m} m</text>'
        for radius_m in _RINGS_M
    )
    return f'{rings}<polygon class="ego" points="{_points_text(_EGO_M)}"/>'


def _outlines(boxes: BevBoxes, styles: Sequence[str]) -> list[str]:
    """A polygon with a line to its front each."""
    from kd3d.evaluation.nuscenes.protocol import CLASSES

    shapes = []
    for corners, label, score, style in zip(
        boxes.corners_m, boxes.label, boxes.score, styles, strict=True
    ):
        middle, front = corners.mean(axis=0), corners[:2].mean(axis=0)
        name = CLASSES[int(label)] + (f" {score:.2f}" if score >= 0 else "")
        (x1, y1), (x2, y2) = _at(middle), _at(front)
        shapes.append(
            f'<g class="box {style}"><title>{escape(name)}</title>'
            f'<polygon points="{_points_text(corners)}"/>'
            f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"/></g>'
        )
    return shapes


def _at(point_m: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    return (RANGE_M + point_m[0]) * _UNITS, (RANGE_M - point_m[1]) * _UNITS


def _points_text(corners_m: Sequence[Sequence[float]] | NDArray[np.float64]) -> str:
    return " ".join(f"{x:.0f},{y:.0f}" for x, y in map(_at, corners_m))
