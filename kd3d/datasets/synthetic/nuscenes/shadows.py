"""What the sun does not reach: a map of heights below which it is dark, seen along its rays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.kernels import kernel
from kd3d.datasets.synthetic.nuscenes.solids import Solids, hit_local

Array = NDArray[np.float64]

CELL_M = 0.2
REACH_M = 60.0  # around the car; what lies beyond has no shadow
_TOP_M = 200.0  # above every solid
_SIGNS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)


@dataclass(frozen=True)
class Shadows:
    """Heights over a square of ground.

    Attributes:
        top_m: (rows, columns) float32, row along y: on the sun's ray that would meet the ground in
            a cell, the height of the first thing it meets; 0 if that is the ground.
        x_min_m: edge of the first column, likewise ``y_min_m``.
        toward_sun: (3,) unit vector.
    """

    top_m: NDArray[np.float32]
    x_min_m: float
    y_min_m: float
    toward_sun: Array


def shadows_of(solids: Solids, around_m: tuple[float, float], toward_sun: Array) -> Shadows:
    """Casts the sun's rays at every cell within REACH_M of a place, ``toward_sun`` pointing up."""
    cells = int(2 * REACH_M / CELL_M)
    top = np.zeros((cells, cells), dtype=np.float32)
    x_min, y_min = around_m[0] - REACH_M, around_m[1] - REACH_M
    rectangles = _rectangles(solids, toward_sun, np.array([x_min, y_min]), cells)
    _cast(
        solids.kind, solids.center, solids.half, solids.yaw,
        rectangles, toward_sun, x_min, y_min, top,
    )  # fmt: skip
    return Shadows(top, x_min, y_min, toward_sun)


def _rectangles(solids: Solids, sun: Array, low_m: Array, cells: int) -> NDArray[np.int32]:
    """(N, 4) first column and row, and those after the last, that each solid may darken."""
    local = _SIGNS * solids.half[:, None, :]
    cos, sin = np.cos(solids.yaw)[:, None], np.sin(solids.yaw)[:, None]
    x = cos * local[..., 0] - sin * local[..., 1] + solids.center[:, None, 0]
    y = sin * local[..., 0] + cos * local[..., 1] + solids.center[:, None, 1]
    z = local[..., 2] + solids.center[:, None, 2]
    foot = np.stack([x - z * sun[0] / sun[2], y - z * sun[1] / sun[2]], axis=-1)
    cell = (foot - low_m) / CELL_M
    first = np.clip(np.floor(cell.min(axis=1)), 0, cells)
    last = np.clip(np.ceil(cell.max(axis=1)), first, cells)
    rectangles: NDArray[np.int32] = np.concatenate([first, last], axis=1).astype(np.int32)
    return rectangles


@kernel
def _cast(
    kind: NDArray[np.int8], center: Array, half: Array, yaw: Array,
    rectangles: NDArray[np.int32], sun: Array, x_min: float, y_min: float,
    top: NDArray[np.float32],
) -> None:  # fmt: skip
    reach = _TOP_M / sun[2]
    for place in range(len(kind)):
        cos, sin = np.cos(yaw[place]), np.sin(yaw[place])
        dx, dy, dz = -(cos * sun[0] + sin * sun[1]), -(cos * sun[1] - sin * sun[0]), -sun[2]
        for row in range(rectangles[place, 1], rectangles[place, 3]):
            for column in range(rectangles[place, 0], rectangles[place, 2]):
                rx = x_min + (column + 0.5) * CELL_M + reach * sun[0] - center[place, 0]
                ry = y_min + (row + 0.5) * CELL_M + reach * sun[1] - center[place, 1]
                t = hit_local(
                    kind[place], half[place, 0], half[place, 1], half[place, 2],
                    cos * rx + sin * ry, cos * ry - sin * rx, _TOP_M - center[place, 2],
                    dx, dy, dz,
                )[0]  # fmt: skip
                height = _TOP_M - t * sun[2]
                if height > top[row, column]:
                    top[row, column] = height


@kernel
def sunlight(
    top: NDArray[np.float32], x_min: float, y_min: float, sun: Array,
    x: float, y: float, z: float, bias_m: float,
) -> float:  # fmt: skip
    """Share of the sun that reaches a point, 0 to 1, soft over one cell.

    ``bias_m`` is how much higher something must be to darken the point: it keeps a surface from
    darkening itself.
    """
    u = (x - z * sun[0] / sun[2] - x_min) / CELL_M - 0.5
    v = (y - z * sun[1] / sun[2] - y_min) / CELL_M - 0.5
    column, row = int(np.floor(u)), int(np.floor(v))
    if row < 0 or column < 0 or row + 1 >= top.shape[0] or column + 1 >= top.shape[1]:
        return 1.0
    u, v = u - column, v - row
    limit = z + bias_m
    lit = 0.0
    if top[row, column] <= limit:
        lit += (1.0 - u) * (1.0 - v)
    if top[row, column + 1] <= limit:
        lit += u * (1.0 - v)
    if top[row + 1, column] <= limit:
        lit += (1.0 - u) * v
    if top[row + 1, column + 1] <= limit:
        lit += u * v
    return lit
