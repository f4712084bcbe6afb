"""The street without its users: sky, buildings, ground, road, and the camera that sees them."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.shapes import Part, Points

Image = NDArray[np.float32]
Canvas = NDArray[np.float32] | NDArray[np.uint8]


@dataclass(frozen=True)
class Camera:
    """A level pinhole camera above a flat road; x right, y up from the ground, z ahead, in metres.

    Attributes:
        focal_px: focal length.
        height_m: height above the road.
        centre_px: column of the optical axis.
        horizon_px: row of the horizon.
    """

    focal_px: float
    height_m: float
    centre_px: float
    horizon_px: float

    def project(self, x_m: Points, y_m: Points, z_m: float | Points) -> Points:
        """Pixels (N, 2) of points; ``z_m`` must be positive."""
        column = self.centre_px + self.focal_px * x_m / z_m
        row = self.horizon_px + self.focal_px * (self.height_m - y_m) / z_m
        return np.stack(np.broadcast_arrays(column, row), axis=-1)


def fill(canvas: Canvas, outline_px: Points, colour: tuple[float, ...]) -> None:
    """Fills a polygon given in pixels, to 1/16 of a pixel."""
    points = np.round(np.clip(outline_px, -4000, 4000) * 16).astype(np.int32)
    cv2.fillPoly(canvas, [points], colour, lineType=cv2.LINE_8, shift=4)


def outline_px(part: Part, camera: Camera, x_m: float, z_m: float) -> Points:
    """Pixels (N, 2) of a part whose shape stands at ``x_m``, ``z_m``."""
    return camera.project(part.outline[:, 0] + x_m, part.outline[:, 1], z_m)


def empty_street(rng: np.random.Generator, camera: Camera, size: tuple[int, int]) -> Image:
    """Paints sky, buildings, ground, road and marks.

    Args:
        rng: decides colours and where things stand.
        camera: the view.
        size: width and height in pixels.

    Returns:
        (H, W, 3) blue, green, red in 0..255.
    """
    W, H = size
    canvas = np.empty((H, W, 3), np.float32)
    low, high = _tone(rng, 170, 235, 8), _tone(rng, 120, 220, 8) * (1.15, 1.0, 0.9)
    rise = np.linspace(1, 0, H)[:, None, None]
    canvas[:] = low * (1 - rise) + high * rise
    _buildings(rng, camera, canvas)
    ground = rng.uniform(60, 150, 3) * (0.8, 1.0, 0.9)
    canvas[int(camera.horizon_px) :] = ground
    _road(rng, camera, canvas)
    return canvas


def _tone(rng: np.random.Generator, low: float, high: float, spread: float) -> Points:
    """A grey between ``low`` and ``high`` with some colour in it."""
    return np.clip(rng.uniform(low, high) + rng.normal(0, spread, 3), 0, 255)


def _buildings(rng: np.random.Generator, camera: Camera, canvas: Image) -> None:
    """Blocks of facade with windows, which leave the middle of the view to the road."""
    for _ in range(rng.integers(4, 11)):
        z_m = rng.uniform(25, 60)
        left = rng.uniform(-45, 40)
        width, height = rng.uniform(5, 16), rng.uniform(4, 16)
        wall = _tone(rng, 60, 190, 16)
        pane = tuple(wall * rng.uniform(0.4, 1.3))
        _facade_box(camera, canvas, (left, 0, left + width, height), z_m, tuple(wall))
        step = rng.uniform(1.8, 3.2)
        for x in np.arange(left + 0.6, left + width - 1.2, step):
            for y in np.arange(0.2, height - 1.8, 2.8):
                tall = 2.0 if y < 1 else 1.4  # doors are as tall as people
                _facade_box(camera, canvas, (x, y, x + 0.9, y + tall), z_m, pane)


def _facade_box(
    camera: Camera,
    canvas: Image,
    corners: tuple[float, float, float, float],
    z_m: float,
    colour: tuple[float, ...],
) -> None:
    x1, y1, x2, y2 = corners
    fill(
        canvas, camera.project(np.array([x1, x2, x2, x1]), np.array([y1, y1, y2, y2]), z_m), colour
    )


def _road(rng: np.random.Generator, camera: Camera, canvas: Image) -> None:
    """Pavement, asphalt, dashes, and patches of another grey."""
    half = rng.uniform(4.5, 8.0)
    grey = rng.uniform(55, 130)
    _strip(camera, canvas, (-half - 2.5, half + 2.5), (1.5, 120), (grey * 1.3,) * 3)
    _strip(camera, canvas, (-half, half), (1.5, 120), (grey,) * 3)
    for _ in range(rng.integers(2, 8)):
        x, z, length = rng.uniform(-half, half), rng.uniform(3, 30), rng.uniform(1, 6)
        tone = grey * rng.uniform(0.6, 1.35)
        _strip(camera, canvas, (x, x + rng.uniform(0.3, 2.0)), (z, z + length), (tone,) * 3)
    mark = grey + rng.uniform(30, 110)
    for x in (-half * 0.95, 0.0, half * 0.95):
        for z in np.arange(2.0 + rng.uniform(0, 3), 60, 6.0):
            _strip(camera, canvas, (x - 0.08, x + 0.08), (z, z + 3.0), (mark,) * 3)


def _strip(
    camera: Camera,
    canvas: Image,
    x_m: tuple[float, float],
    z_m: tuple[float, float],
    colour: tuple[float, ...],
) -> None:
    x, z = np.array([x_m[0], x_m[1], x_m[1], x_m[0]]), np.array([z_m[0], z_m[0], z_m[1], z_m[1]])
    fill(canvas, camera.project(x, np.zeros(4), z), colour)
