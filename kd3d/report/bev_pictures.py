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

MAX_RANGE_M = 52.0  # the farthest boxes count up to 50 m
_SIDE = 1040.0  # of a picture, in its own units
_PIXELS = 520  # of a side of the image of the points
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


def range_of(frame: BevFrame) -> float:
    """From the LiDAR to each side of the picture: as far as points or objects reach, in metres."""
    points_m, corners_m = frame.points_m, frame.objects.corners_m
    farthest_m = max(np.abs(points_m).max(initial=0.0), np.abs(corners_m).max(initial=0.0))
    return min(float(np.ceil(farthest_m)), MAX_RANGE_M) if farthest_m else MAX_RANGE_M


def point_image(points_m: NDArray[np.float32], range_m: float) -> bytes:
    """Points as a PNG that is transparent where there are none, y upwards.

    Args:
        points_m: (P, 2) x to the right, y ahead; those out of the picture are left out.
        range_m: from the LiDAR to each side.
    """
    side = _PIXELS
    cell = np.floor((points_m + range_m) * (side / (2 * range_m))).astype(np.int64)
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
    range_m = range_of(frame)
    data = base64.b64encode(point_image(frame.points_m, range_m)).decode("ascii")
    definition = (
        f'<svg width="0" height="0" class="hidden"><defs><image id="bev-{number}" '
        f'width="{_SIDE:g}" height="{_SIDE:g}" href="data:image/png;base64,{data}"/></defs></svg>'
    )
    panels = [_panel(frame, number, role, boxes, range_m) for role, boxes in frame.found.items()]
    title = f"{frame.title}: {len(frame.objects.score)} objects"
    if not len(frame.points_m):
        title += "; the LiDAR's file is not here"
    return (
        f'{definition}<p class="soft">{escape(title)}</p>'
        f'<div class="panels bev">{"".join(panels)}</div>'
    )


def _panel(frame: BevFrame, number: int, role: str, boxes: BevBoxes, range_m: float) -> str:
    taken = match(frame.objects, boxes)
    found = {int(index) for index in taken if index >= 0}
    caption = (
        f"{role}: {len(found)} of {len(frame.objects.score)} found, {int((taken < 0).sum())} false"
    )
    numbers = range(len(frame.objects.score))
    objects = ["object" if index in found else "object missed" for index in numbers]
    own = [f"role-{role}" if index >= 0 else f"role-{role} false" for index in taken]
    drawn = [
        _ground(range_m),
        *_outlines(frame.objects, objects, range_m),
        *_outlines(boxes, own, range_m),
    ]
    return (
        f'<figure><svg viewBox="0 0 {_SIDE:g} {_SIDE:g}" role="img" '
        f'aria-label="{escape(caption)}"><use href="#bev-{number}"/>{"".join(drawn)}'
        f"</svg><figcaption>{escape(caption)}</figcaption></figure>"
    )


def _ground(range_m: float) -> str:
    """Range rings and the ego vehicle."""
    x, y = _at((0.0, 0.0), range_m)
    rings = "".join(
        f'<circle class="ring" cx="{x:g}" cy="{y:g}" r="{radius_m * _units(range_m):g}"/>'
        f'<text class="ring-name" x="{x:g}" y="{y - radius_m * _units(range_m) - 6:g}" '
        f'text-anchor="middle">{radius_m} m</text>'
        for radius_m in _RINGS_M
        if radius_m < range_m
    )
    return f'{rings}<polygon class="ego" points="{_points_text(_EGO_M, range_m)}"/>'


def _outlines(boxes: BevBoxes, styles: Sequence[str], range_m: float) -> list[str]:
    """A polygon with a line to its front each."""
    from kd3d.evaluation.nuscenes.protocol import CLASSES

    shapes = []
    for corners, label, score, style in zip(
        boxes.corners_m, boxes.label, boxes.score, styles, strict=True
    ):
        middle, front = corners.mean(axis=0), corners[:2].mean(axis=0)
        name = CLASSES[int(label)] + (f" {score:.2f}" if score >= 0 else "")
        (x1, y1), (x2, y2) = _at(middle, range_m), _at(front, range_m)
        shapes.append(
            f'<g class="box {style}"><title>{escape(name)}</title>'
            f'<polygon points="{_points_text(corners, range_m)}"/>'
            f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"/></g>'
        )
    return shapes


def _units(range_m: float) -> float:
    """Of the picture, a metre."""
    return _SIDE / (2 * range_m)


def _at(point_m: Sequence[float] | NDArray[np.float64], range_m: float) -> tuple[float, float]:
    return (range_m + point_m[0]) * _units(range_m), (range_m - point_m[1]) * _units(range_m)


def _points_text(corners_m: Sequence[Sequence[float]] | NDArray[np.float64], range_m: float) -> str:
    return " ".join(f"{x:.0f},{y:.0f}" for x, y in (_at(each, range_m) for each in corners_m))
