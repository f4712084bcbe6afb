"""The colours of the ground, at several resolutions, so that distant lines fade, not flicker."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.kernels import kernel
from kd3d.datasets.synthetic.nuscenes.materials import MATERIAL_INDEX
from kd3d.datasets.synthetic.nuscenes.noise import noise_at
from kd3d.datasets.synthetic.nuscenes.painting import LINEAR_RGB
from kd3d.datasets.synthetic.nuscenes.scene import Ground

Picture = NDArray[np.uint8]
Levels = tuple[Picture, ...]
Rgb = tuple[float, float, float]

LEVELS = 5
_COLOURS = np.round(np.sqrt(LINEAR_RGB) * 255).astype(np.uint8)
_WHITE = tuple(np.sqrt(LINEAR_RGB[MATERIAL_INDEX["marking"]]).tolist())
# Share of paint by the blurred raster's value, which is about 0.5 along the middle of a line of
# one cell and beside a gap of one.
_PAINT = np.clip((np.arange(256) / 255 - 0.30) / 0.16, 0, 1) * 255


@dataclass(frozen=True)
class GroundPicture:
    """A ground, each level half as fine as the one before.

    Attributes:
        colours: LEVELS arrays (rows, columns, 3), square roots of linear colours times 255,
            without road markings.
        lines: LEVELS arrays (2 rows, 2 columns, 1), share of road marking times 255, twice as fine.
        x_min_m: edge of the first column, likewise ``y_min_m``.
        cell_m: edge of a cell of the first of ``colours``.
    """

    colours: Levels
    lines: Levels
    x_min_m: float
    y_min_m: float
    cell_m: float

    @classmethod
    def of(cls, ground: Ground) -> "GroundPicture":
        """The picture of a scene's ground."""
        marked = ground.material == MATERIAL_INDEX["marking"]
        below = np.where(marked, MATERIAL_INDEX["asphalt"], ground.material)
        # Lines of one cell climb in steps: blurred and cut again they run straight.
        blurred = cv2.GaussianBlur(marked.astype(np.uint8) * 255, (5, 5), 0.75)
        rows, columns = marked.shape
        finer = cv2.resize(blurred, (2 * columns, 2 * rows), interpolation=cv2.INTER_LINEAR)
        lines = cv2.LUT(finer, _PAINT.astype(np.uint8))
        colours, edges = _levels(_COLOURS[below]), (ground.x_min_m, ground.y_min_m)
        return cls(colours, _levels(lines), *edges, ground.cell_m)


def _levels(picture: Any) -> Levels:  # Any: OpenCV forgets the type
    levels = [picture]
    for _ in range(LEVELS - 1):
        rows, columns = levels[-1].shape[:2]
        size = (max(columns // 2, 2), max(rows // 2, 2))
        levels.append(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA))
    return tuple(level.reshape(*level.shape[:2], -1) for level in levels)


@kernel
def ground_colour(
    colours: Levels, lines: Levels, x_m: float, y_m: float, cell_m: float, footprint_m: float
) -> Rgb:
    """Linear colour of the ground, with grain.

    Args:
        colours: of a GroundPicture, likewise ``lines`` and ``cell_m``.
        lines: share of road marking.
        x_m: place, from the edge of the first column.
        y_m: likewise from the edge of the first row.
        cell_m: of the first level of ``colours``.
        footprint_m: size of the pixel on the ground; decides the level.
    """
    level, size = 0, cell_m
    while size < 0.7 * footprint_m and level < LEVELS - 1:
        level, size = level + 1, 2.0 * size
    paint = _between(lines[level], 2.0 * x_m / size, 2.0 * y_m / size, 0) / 255.0
    grain = 0.88 + 0.16 * noise_at(0.45 * x_m, 0.45 * y_m, 1)
    if footprint_m < 0.15:
        grain += 0.18 * (noise_at(9.0 * x_m, 9.0 * y_m, 2) - 0.5) * (1.0 - footprint_m / 0.15)
    picture, u, v, rest = colours[level], x_m / size, y_m / size, (1.0 - paint) / 255.0
    red = (_between(picture, u, v, 0) * rest + _WHITE[0] * paint) * grain
    green = (_between(picture, u, v, 1) * rest + _WHITE[1] * paint) * grain
    blue = (_between(picture, u, v, 2) * rest + _WHITE[2] * paint) * grain
    return red * red, green * green, blue * blue


@kernel
def _between(picture: Picture, u: float, v: float, channel: int) -> float:
    """Value between four pixels; u and v count pixels from the edges of the first ones."""
    u = min(max(u - 0.5, 0.0), picture.shape[1] - 1.001)
    v = min(max(v - 0.5, 0.0), picture.shape[0] - 1.001)
    column, row = int(u), int(v)
    u, v = u - column, v - row
    low = picture[row, column, channel] * (1.0 - u) + picture[row, column + 1, channel] * u
    high = picture[row + 1, column, channel] * (1.0 - u) + picture[row + 1, column + 1, channel] * u
    return float(low * (1.0 - v) + high * v)
