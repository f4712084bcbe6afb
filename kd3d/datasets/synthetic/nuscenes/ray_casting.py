"""Which solid each ray of a spinning LiDAR meets first.

Elevations are those of a Velodyne HDL-32E: +10.67 to -30.67 degrees in 32 equal steps.
"""

from math import inf

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.kernels import kernel
from kd3d.datasets.synthetic.nuscenes.solids import GROUND, SKY, hit_local

HEIGHT_M = 1.84023  # of the sensor above the ground
BEAMS = 32
FIRINGS = 1084
LOWEST_DEG, STEP_DEG = -30.67, 41.34 / 31
RANGE_M = 100.0
LOWEST, STEP, TURN = np.radians(LOWEST_DEG), np.radians(STEP_DEG), 2 * np.pi / FIRINGS


@kernel
def cast_rays(
    kind: NDArray[np.int8],
    center: NDArray[np.float64],
    half: NDArray[np.float64],
    yaw: NDArray[np.float64],
    fill: NDArray[np.float64],
    owner: NDArray[np.int32],
    actors: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Casts all rays from the origin of the sensor's frame, solid by solid.

    Args:
        kind: (N,) of each solid, as in ``Solids``; likewise the next five. Solids of one owner are
            neighbours.
        center: (N, 3) in the sensor's frame.
        half: (N, 3).
        yaw: (N,) in the sensor's frame.
        fill: (N,) share of the rays through the solid that meet something.
        owner: (N,).
        actors: owners are below this number.
        seed: decides which rays pass through.

    Returns:
        (BEAMS, FIRINGS) range, index of the solid (or GROUND, SKY), cosine of the incidence; and
        for each actor the number of rays that meet it when it stands alone.
    """
    range_m, index, cosine = _ground_alone()
    counted = np.full((BEAMS, FIRINGS), -1)  # the last actor that the ray was counted for
    possible = np.zeros(actors, dtype=np.int64)
    azimuth, elevation = TURN * np.arange(FIRINGS), LOWEST + STEP * np.arange(BEAMS)
    for place in range(len(kind)):
        x, y, z = center[place]
        hx, hy, hz = half[place]
        lowest, highest, first, last = _window(x, y, z, (hx * hx + hy * hy) ** 0.5, hz)
        cos, sin = np.cos(yaw[place]), np.sin(yaw[place])
        ox, oy, oz = -cos * x - sin * y, -cos * y + sin * x, -z
        who = owner[place]
        for unwrapped in range(first, last + 1):
            column = unwrapped % FIRINGS
            ax, ay = np.cos(azimuth[column] - yaw[place]), np.sin(azimuth[column] - yaw[place])
            for beam in range(lowest, highest + 1):
                flat, dz = np.cos(elevation[beam]), np.sin(elevation[beam])
                dx, dy = ax * flat, ay * flat
                t, nx, ny, nz = hit_local(kind[place], hx, hy, hz, ox, oy, oz, dx, dy, dz)
                if t >= RANGE_M:
                    continue
                ray = beam * FIRINGS + column
                if fill[place] < 1.0 and _uniform(seed, ray, place) >= fill[place]:
                    continue
                if who >= 0 and counted[beam, column] != who:
                    counted[beam, column] = who
                    possible[who] += 1
                if t < range_m[beam, column]:
                    range_m[beam, column] = t
                    index[beam, column] = place
                    cosine[beam, column] = -(nx * dx + ny * dy + nz * dz)
    return range_m, index, cosine, possible


@kernel
def _ground_alone() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Range, index and cosine of all rays where nothing stands."""
    range_m = np.full((BEAMS, FIRINGS), inf)
    index = np.full((BEAMS, FIRINGS), SKY)
    cosine = np.zeros((BEAMS, FIRINGS))
    for beam in range(BEAMS):
        down = -np.sin(LOWEST + STEP * beam)
        if down > HEIGHT_M / RANGE_M:
            range_m[beam] = HEIGHT_M / down
            index[beam] = GROUND
            cosine[beam] = down
    return range_m, index, cosine


@kernel
def _window(x: float, y: float, z: float, radius: float, hz: float) -> tuple[int, int, int, int]:
    """The rays that may meet an upright cylinder about a solid.

    Args:
        x: middle of the cylinder: x,
        y: y
        z: and z.
        radius: of the cylinder.
        hz: half its height.

    Returns:
        First and last beam, first and last firing; firings may lie below 0 or beyond FIRINGS, and
        count on from the other end.
    """
    distance = (x * x + y * y) ** 0.5
    nearest, farthest = max(distance - radius, 0.05), distance + radius
    low, high = z - hz, z + hz
    bottom = np.arctan2(low, nearest if low < 0 else farthest)
    top = np.arctan2(high, nearest if high > 0 else farthest)
    lowest = max(int(np.ceil((bottom - LOWEST) / STEP)), 0)
    highest = min(int(np.floor((top - LOWEST) / STEP)), BEAMS - 1)
    if lowest > highest:
        return 0, -1, 0, -1
    if distance <= radius:
        return lowest, highest, 0, FIRINGS - 1
    spread, middle = np.arcsin(radius / distance), np.arctan2(y, x)
    first, last = np.ceil((middle - spread) / TURN), np.floor((middle + spread) / TURN)
    return lowest, highest, int(first), int(last)


@kernel
def _uniform(seed: int, ray: int, solid: int) -> float:
    """A number in [0, 1) that depends on nothing else; a hash by xor, shift and multiply."""
    h = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
    h ^= np.uint64(ray) * np.uint64(0xBF58476D1CE4E5B9)
    h ^= np.uint64(solid) * np.uint64(0x94D049BB133111EB)
    for _ in range(2):
        h ^= h >> np.uint64(31)
        h *= np.uint64(0xD6E8FEB86659FD93)
    h ^= h >> np.uint64(32)
    return float(h >> np.uint64(11)) / 9007199254740992.0
