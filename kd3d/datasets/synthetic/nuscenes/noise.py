"""Noise that depends on its place only: the same in every image, on every core."""

from math import floor

from kd3d.datasets.synthetic.nuscenes.kernels import kernel


@kernel
def hash_of(a: int, b: int, c: int) -> float:
    """A number in [0, 1) that three whole numbers decide, as good as random."""
    h = (a * 73856093) ^ (b * 19349663) ^ (c * 83492791)
    h = h & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@kernel
def noise_at(x: float, y: float, seed: int) -> float:
    """Smooth noise in [0, 1) over a plane, random at whole x and y."""
    column, row = floor(x), floor(y)
    u, v = x - column, y - row
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    low = hash_of(column, row, seed) * (1.0 - u) + hash_of(column + 1, row, seed) * u
    high = hash_of(column, row + 1, seed) * (1.0 - u) + hash_of(column + 1, row + 1, seed) * u
    return low * (1.0 - v) + high * v
