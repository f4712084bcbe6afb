"""What is painted on a solid: windows on a wall, lamps on a car, leaves, stripes; and holes.

A texture changes the colour of a material by the place on the solid. Colours are linear light in
[0, 1], red, green, blue.
"""

from math import floor

from kd3d.datasets.synthetic.nuscenes.kernels import kernel
from kd3d.datasets.synthetic.nuscenes.noise import hash_of, noise_at
from kd3d.datasets.synthetic.nuscenes.solids import ELLIPSOID

PLAIN, FACADE, CAB, GLASS, LEAVES, CLOTH, STRIPES, LATTICE, WHEEL = range(9)
BODY = 16  # of a vehicle; plus any of these:
NOSE, TAIL, DOORS = 1, 2, 4

Surface = tuple[float, float, float, float, float]
"""Red, green, blue; own light (times the colour); share of the sky's mirror image."""

_SEAM_M = 0.012
_BLACK = 0.025


@kernel
def is_hole(
    texture: int, seed: int, kind: int, x: float, y: float, z: float,
    hx: float, hy: float, hz: float, facing: float, footprint_m: float,
) -> bool:  # fmt: skip
    """Whether a ray passes through a solid of texture LEAVES or LATTICE where it enters.

    The ray enters at (x, y, z) about the solid's centre, in its axes, whose half extents are
    (hx, hy, hz); ``seed`` is of the solid's own noise, ``facing`` the cosine between the normal and
    the way back to the eye, ``footprint_m`` the size of the pixel there.
    """
    if texture == LEAVES:
        return _cell(x, y, z, max(0.09, footprint_m), seed + 2) > 0.2 + 1.6 * facing
    if kind == ELLIPSOID:  # a wheel: rim and hub
        from_hub = (x / hx) ** 2 + (z / hz) ** 2
        return 0.03 < from_hub < 0.68
    pitch = max(0.16, 3.0 * footprint_m)
    return (x + y) / pitch - floor((x + y) / pitch) > 0.4 and abs(abs(z) - hz) > 0.06


@kernel
def surface_of(
    texture: int, seed: int, red: float, green: float, blue: float,
    x: float, y: float, z: float, hx: float, hy: float, hz: float,
    nx: float, ny: float, nz: float, footprint_m: float, dark: float,
) -> Surface:  # fmt: skip
    """The surface at a place of a solid.

    The solid has the colour (red, green, blue), half extents (hx, hy, hz) and its own noise by
    ``seed``. The place (x, y, z) is about its centre and the normal (nx, ny, nz) points outward,
    both in its axes. Patterns finer than ``footprint_m``, the size of the pixel there, are left
    out. ``dark`` is 0 by day, and 1 by night, when lamps and windows shine.
    """
    if texture == FACADE:
        return _facade(seed, red, green, blue, x, y, z + hz, nx, nz, 2 * hz, footprint_m, dark)
    if texture >= BODY:
        return _body(texture - BODY, red, green, blue, x, y, z, hx, hy, hz, nx, ny, nz, dark)
    if texture == CAB:
        return _cab(red, green, blue, x, y, z, hx, hy, hz, nx, ny)
    if texture == GLASS:
        pillar = hx > 2.0 and abs(ny) > 0.5 and x / 1.5 - floor(x / 1.5) < 0.06
        if pillar:
            return _BLACK, _BLACK, _BLACK, 0.0, 0.1
        return red, green, blue, 0.25 * dark if hx > 2.0 else 0.0, 0.5
    if texture == LEAVES:
        fine, coarse = max(0.12, 2.0 * footprint_m), max(0.45, 2.0 * footprint_m)
        tone = noise_at(x / fine, z / fine, seed) + noise_at(y / fine, z / fine, seed + 1)
        tone *= noise_at(x / coarse, z / coarse, seed + 2) + noise_at(y / coarse, z / coarse, seed)
        tone = 0.35 + 0.65 * tone
        return red * tone, green * tone, blue * tone, 0.0, 0.0
    if texture == WHEEL and (x / hx) ** 2 + (z / hz) ** 2 < 0.34:
        return 0.34, 0.35, 0.36, 0.0, 0.1
    if texture == STRIPES:
        if floor((y + z) / 0.3) % 2 == 0:
            return red, green, blue, 0.0, 0.05
        return 0.62, 0.05, 0.03, 0.0, 0.05
    if texture == CLOTH:
        tone = 0.85 + 0.3 * noise_at(7.0 * x + 5.0 * y, 9.0 * z, seed)
        return red * tone, green * tone, blue * tone, 0.0, 0.0
    return red, green, blue, 0.0, 0.06


@kernel
def _cell(x: float, y: float, z: float, size_m: float, seed: int) -> float:
    """A number in [0, 1) for each cube of space."""
    row, column = floor(x / size_m), floor(y / size_m)
    return hash_of(row, column, seed + 7919 * floor(z / size_m))


@kernel
def _facade(
    seed: int, red: float, green: float, blue: float, x: float, y: float, height: float,
    nx: float, nz: float, top: float, footprint_m: float, dark: float,
) -> Surface:  # fmt: skip
    """Storeys of 3.2 m with windows every 2.4 to 3.6 m, shop windows at the foot."""
    grain = 0.9 + 0.2 * noise_at((x + y) * 0.8, height * 0.8, seed)
    red, green, blue = red * grain, green * grain, blue * grain
    if abs(nz) > 0.5 or height > top - 0.6:
        return 0.75 * red, 0.75 * green, 0.75 * blue, 0.0, 0.0
    along = y if abs(nx) > 0.5 else x
    wide = 2.4 + 1.2 * hash_of(seed, 1, 1)
    bay, storey = floor(along / wide), floor(height / 3.2)
    u, v = along / wide - bay, height / 3.2 - storey
    shop = storey == 0
    glazed = (0.08 < u < 0.92 and 0.15 < v < 0.8) if shop else (0.27 < u < 0.73 and 0.3 < v < 0.82)
    if glazed:
        of_pane = hash_of(bay, storey, seed + (7 if abs(nx) > 0.5 else 13))
        if of_pane > 0.62 and dark > 0.0:
            return 0.95, 0.70, 0.36, dark * (0.1 + 0.3 * of_pane), 0.0
        tone = 0.02 + 0.10 * of_pane
        return tone, 1.1 * tone, 1.3 * tone, 0.0, 0.35
    framed = shop or (0.24 < u < 0.76 and 0.27 < v < 0.85)
    if framed and footprint_m < 0.25:
        return 0.6 * red + 0.2, 0.6 * green + 0.2, 0.6 * blue + 0.19, 0.0, 0.0
    return red, green, blue, 0.0, 0.0


@kernel
def _body(
    has: int, red: float, green: float, blue: float, x: float, y: float, z: float,
    hx: float, hy: float, hz: float, nx: float, ny: float, nz: float, dark: float,
) -> Surface:  # fmt: skip
    """Lamps, a grille and a number plate at the ends; seams of doors; a dark sill."""
    side, up_m = abs(y) / hy, z + hz
    lamps_m = min(0.62 * 2 * hz, 0.75)  # middle of the lamps above the solid's foot
    level = abs(up_m - lamps_m) < 0.1
    if nx > 0.5 and has & NOSE:
        if level and 0.6 < side < 0.94:
            return 0.95, 0.93, 0.85, 0.25 + 2.0 * dark, 0.2
        if side < 0.5 and abs(up_m - lamps_m + 0.08) < 0.12:
            return _BLACK, _BLACK, _BLACK, 0.0, 0.1
    if nx < -0.5 and has & TAIL:
        if level and 0.64 < side < 0.96:
            return 0.72, 0.03, 0.02, 0.15 + 1.0 * dark, 0.15
        if abs(y) < 0.26 and abs(up_m - lamps_m + 0.04) < 0.06:
            return 0.75, 0.74, 0.66, 0.0, 0.0
        if hz > 0.8 and abs(y) < 2 * _SEAM_M:
            return 0.3 * red, 0.3 * green, 0.3 * blue, 0.0, 0.1
    if abs(ny) > 0.5 and has & DOORS:
        seam = abs(x - 0.05 * hx)
        if min(seam, abs(seam - 0.42 * hx)) < _SEAM_M:
            return 0.35 * red, 0.35 * green, 0.35 * blue, 0.0, 0.1
    if up_m < 0.11 and abs(nz) < 0.5:
        return _BLACK, _BLACK, _BLACK, 0.0, 0.0
    return red, green, blue, 0.0, 0.2


@kernel
def _cab(
    red: float, green: float, blue: float, x: float, y: float, z: float,
    hx: float, hy: float, hz: float, nx: float, ny: float,
) -> Surface:  # fmt: skip
    """The upper half of a lorry's cab: windscreen and side windows."""
    screen = nx > 0.5 and abs(y) < 0.88 * hy and -0.7 * hz < z < 0.75 * hz
    window = abs(ny) > 0.5 and -0.1 * hx < x < 0.85 * hx and -0.6 * hz < z < 0.7 * hz
    if screen or window:
        return 0.03, 0.04, 0.05, 0.0, 0.5
    return red, green, blue, 0.0, 0.2
