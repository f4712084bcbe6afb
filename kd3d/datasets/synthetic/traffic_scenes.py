"""Simple traffic scenes: a road in perspective with cars, trucks, pedestrians and cyclists.

Made to be learnt in minutes by a detector from scratch, and not to be learnt completely: far road
users are few pixels tall, they hide each other, light and haze vary, and clutter resembles them.
A scene depends on its seed and index only, not on the machine or on other scenes.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.shapes import ROAD_USERS, Part, clutter
from kd3d.datasets.synthetic.street import Camera, Image, empty_street, fill, outline_px

CATEGORIES = tuple(ROAD_USERS)
SUPERSAMPLING = 2  # drawn at twice the size, then averaged: edges get the mixed pixels of a camera
MIN_VISIBLE = 0.45  # below, people who label images would leave a road user out too
MIN_SIDE_PX = 4


@dataclass(frozen=True)
class Label:
    """One visible road user.

    Attributes:
        category: index into ``CATEGORIES``.
        box_px: x1, y1, x2, y2 around its visible pixels, inside the image.
    """

    category: int
    box_px: tuple[float, float, float, float]


@dataclass(frozen=True)
class _Standing:
    """Something that stands on the ground; category -1 is clutter."""

    category: int
    parts: list[Part]
    x_m: float
    z_m: float


def render_scene(
    seed: int, index: int, size: tuple[int, int] = (320, 192)
) -> tuple[NDArray[np.uint8], list[Label]]:
    """Draws one scene.

    Args:
        seed: of the set; different splits use different seeds.
        index: of the scene within the split.
        size: width and height in pixels.

    Returns:
        The image, (H, W, 3) blue, green, red; and its labels, far to near.
    """
    rng = np.random.default_rng([seed, index])
    W, H = (side * SUPERSAMPLING for side in size)
    camera = Camera(
        focal_px=W * rng.uniform(0.72, 0.9),
        height_m=rng.uniform(1.3, 2.1),
        centre_px=W * rng.uniform(0.42, 0.58),
        horizon_px=H * rng.uniform(0.36, 0.48),
    )
    canvas = empty_street(rng, camera, (W, H))
    haze = rng.uniform(120, 230) * np.ones(3) * rng.uniform(0.95, 1.05, 3)
    reach_m = rng.uniform(50, 150)  # distance at which haze hides 63 percent
    owner = np.full((H, W), -1, np.int32)
    standing = sorted(_choose(rng), key=lambda item: -item.z_m)
    silhouettes = []
    for number, item in enumerate(standing):
        _shadow(canvas, camera, item)
        silhouettes.append(_draw(canvas, owner, camera, item, number, haze, reach_m))
    image = _develop(rng, canvas, size)
    return image, _labels(standing, silhouettes, owner, size)


def _choose(rng: np.random.Generator) -> list[_Standing]:
    """Picks what stands where: a few groups of road users, and clutter at the roadside."""
    chosen = []
    shares = np.array([0.36, 0.16, 0.3, 0.18])
    for _ in range(rng.integers(3, 9)):
        category = int(rng.choice(len(CATEGORIES), p=shares))
        z_m = float(np.exp(rng.uniform(np.log(4.5), np.log(18.0))))  # even in pixels, not in metres
        side = 3.6 if category < 2 else 5.5
        x_m = float(np.clip(rng.normal(0, side), -0.62 * z_m, 0.62 * z_m))
        draw = ROAD_USERS[CATEGORIES[category]]
        chosen.append(_Standing(category, draw(rng), x_m, z_m))
        if category == 2 and rng.random() < 0.4:  # people walk together
            chosen.append(_Standing(2, draw(rng), x_m + rng.uniform(0.4, 1.2), z_m + 0.3))
    for _ in range(rng.integers(2, 6)):
        z_m = rng.uniform(5, 28)
        x_m = rng.choice([-1, 1]) * rng.uniform(2.0, 0.6 * z_m + 1)
        chosen.append(_Standing(-1, clutter(rng), float(x_m), float(z_m)))
    return chosen


def _shadow(canvas: Image, camera: Camera, item: _Standing) -> None:
    """Darkens the ground under something, which also tells where it stands."""
    corners = np.concatenate([part.outline for part in item.parts])
    half, middle = np.ptp(corners[:, 0]) / 2, corners[:, 0].mean() + item.x_m
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    outline = camera.project(
        middle + half * np.cos(turn), np.zeros(16), item.z_m + 0.4 + 0.4 * np.sin(turn)
    )
    fill(canvas, outline, (38.0, 36.0, 34.0))


def _draw(
    canvas: Image,
    owner: NDArray[np.int32],
    camera: Camera,
    item: _Standing,
    number: int,
    haze: NDArray[np.float64],
    reach_m: float,
) -> int:
    """Draws over what stands behind; returns the area in pixels, what is out of view included."""
    clear = float(np.exp(-item.z_m / reach_m))
    inside = np.zeros(owner.shape, np.uint8)
    outlines = [outline_px(part, camera, item.x_m, item.z_m) for part in item.parts]
    for part, outline in zip(item.parts, outlines, strict=True):
        colour = clear * np.array(part.colour) + (1 - clear) * haze
        fill(canvas, outline, tuple(colour))
        fill(inside, outline, (1,))
    owner[inside > 0] = number
    corners = np.concatenate(outlines)
    left, right = corners[:, 0].min(), corners[:, 0].max()
    seen = np.clip([left, right], 0, owner.shape[1])
    cut = (seen[1] - seen[0]) / max(right - left, 1e-6)
    return int(inside.sum() / max(cut, 1e-3))


def _develop(rng: np.random.Generator, canvas: Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Light, cast, blur and noise, as a camera adds them."""
    W, H = size
    image = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
    gain = rng.uniform(0.6, 1.1)
    slope = rng.uniform(-0.25, 0.25)
    across = 1 + slope * np.linspace(-1, 1, W)[None, :, None]
    image = image * gain * across * rng.uniform(0.94, 1.06, 3)
    patches = rng.normal(0, rng.uniform(1, 5), (H // 12, W // 12, 1)).astype(np.float32)
    image += cv2.resize(patches, size, interpolation=cv2.INTER_LINEAR)[..., None]
    image += rng.normal(0, rng.uniform(2, 6), image.shape)
    developed: NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return developed


def _labels(
    standing: list[_Standing],
    areas: list[int],
    owner: NDArray[np.int32],
    size: tuple[int, int],
) -> list[Label]:
    """Boxes around what can still be seen of each road user."""
    found = []
    for number, (item, area) in enumerate(zip(standing, areas, strict=True)):
        if item.category < 0:
            continue
        rows, columns = np.nonzero(owner == number)
        if len(rows) / max(area, 1) < MIN_VISIBLE:
            continue
        corners = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        x1, y1, x2, y2 = (corners / SUPERSAMPLING).tolist()
        if min(x2 - x1, y2 - y1) < MIN_SIDE_PX or x2 > size[0] or y2 > size[1]:
            continue
        found.append(Label(item.category, (x1, y1, x2, y2)))
    return found
