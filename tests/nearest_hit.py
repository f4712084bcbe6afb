"""The first thing that a ray meets, by asking every solid: the reference of what culls."""

from math import inf

import numpy as np

from kd3d.datasets.synthetic.nuscenes.kernels import kernel
from kd3d.datasets.synthetic.nuscenes.solids import GROUND, SKY, hit_local


@kernel
def nearest_hit(kind, center, half, yaw, ox, oy, oz, dx, dy, dz):
    """Range, index of the solid (or GROUND, or SKY at an infinite range) and outward normal."""
    best, index, nx, ny, nz = inf, SKY, 0.0, 0.0, 0.0
    if dz < 0.0 < oz:
        best, index, nz = -oz / dz, GROUND, 1.0
    for place in range(len(kind)):
        cos, sin = np.cos(yaw[place]), np.sin(yaw[place])
        rx, ry = ox - center[place, 0], oy - center[place, 1]
        t, mx, my, mz = hit_local(
            kind[place], half[place, 0], half[place, 1], half[place, 2],
            cos * rx + sin * ry, cos * ry - sin * rx, oz - center[place, 2],
            cos * dx + sin * dy, cos * dy - sin * dx, dz,
        )  # fmt: skip
        if t < best:
            best, index = t, place
            nx, ny, nz = cos * mx - sin * my, sin * mx + cos * my, mz
    return best, index, nx, ny, nz
