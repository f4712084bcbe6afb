"""The colour of each pixel: light, shadow, texture and haze on what the raster found there."""

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.ground_picture import GroundPicture, Levels, ground_colour
from kd3d.datasets.synthetic.nuscenes.kernels import kernel
from kd3d.datasets.synthetic.nuscenes.look import Look
from kd3d.datasets.synthetic.nuscenes.noise import hash_of, noise_at
from kd3d.datasets.synthetic.nuscenes.painting import Painting
from kd3d.datasets.synthetic.nuscenes.raster import Raster, View
from kd3d.datasets.synthetic.nuscenes.shadows import Shadows, sunlight
from kd3d.datasets.synthetic.nuscenes.solids import GROUND, SKY, Solids, hit_local
from kd3d.datasets.synthetic.nuscenes.textures import surface_of

Array = NDArray[np.float64]
Rgb = tuple[float, float, float]


def shade(
    raster: Raster,
    view: View,
    solids: Solids,
    painting: Painting,
    ground: GroundPicture,
    shadows: Shadows,
    look: Look,
    heading: tuple[float, float],
    noise_seed: int,
) -> NDArray[np.uint8]:
    """The image of a raster.

    Args:
        raster: of ``solids`` in ``view``.
        view: the camera.
        solids: in the global frame.
        painting: of these solids.
        ground: colours of the plane z = 0.
        shadows: of these solids, the sun being the look's.
        look: light and weather.
        heading: unit vector of the car's nose, where its headlights shine.
        noise_seed: of the sensor's noise in this image.

    Returns:
        (H, W, 3) blue, green, red.
    """
    H, W = raster.index.shape
    image = np.empty((H, W, 3), dtype=np.uint8)
    _shade(
        raster.index, raster.depth_m, view.origin_m,
        view.rotation @ np.linalg.inv(view.intrinsic),
        solids.kind, solids.center, solids.half, solids.yaw,
        painting.texture, painting.colour, painting.seed,
        ground.colours, ground.lines, ground.x_min_m, ground.y_min_m, ground.cell_m,
        shadows.top_m, shadows.x_min_m, shadows.y_min_m, np.array(look.toward_sun),
        look, heading, noise_seed, image,
    )  # fmt: skip
    return image


@kernel
def _shade(
    index: NDArray[np.int32], depth: NDArray[np.float32], origin: Array, rays: Array,
    kind: NDArray[np.int8], center: Array, half: Array, yaw: Array,
    texture: NDArray[np.int8], colour: Array, seed: NDArray[np.int64],
    colours: Levels, lines: Levels, x_min: float, y_min: float, cell: float,
    top: NDArray[np.float32], top_x_min: float, top_y_min: float, sun: Array,
    look: Look, heading: tuple[float, float], noise_seed: int, image: NDArray[np.uint8],
) -> None:  # fmt: skip
    H, W = index.shape
    pixel = (rays[0, 0] ** 2 + rays[1, 0] ** 2 + rays[2, 0] ** 2) ** 0.5  # at depth 1
    for row in range(H):
        for column in range(W):
            dx = rays[0, 0] * column + rays[0, 1] * row + rays[0, 2]
            dy = rays[1, 0] * column + rays[1, 1] * row + rays[1, 2]
            dz = rays[2, 0] * column + rays[2, 1] * row + rays[2, 2]
            length = (dx * dx + dy * dy + dz * dz) ** 0.5
            place, t = index[row, column], depth[row, column]
            if place == SKY:
                red, green, blue = _sky(dx / length, dy / length, dz / length, look)
                _expose(red, green, blue, look, row, column, noise_seed, image)
                continue
            px, py, pz = origin[0] + t * dx, origin[1] + t * dy, origin[2] + t * dz
            footprint = t * pixel
            if place == GROUND:
                nx, ny, nz, pz = 0.0, 0.0, 1.0, 0.0
                footprint *= min(length / max(-dz, 1e-6), 40.0) ** 0.5
                red, green, blue = ground_colour(
                    colours, lines, px - x_min, py - y_min, cell, footprint
                )
                shine, gloss, bias = 0.0, look.wet, 0.05
            else:
                cos, sin = np.cos(yaw[place]), np.sin(yaw[place])
                rx, ry = origin[0] - center[place, 0], origin[1] - center[place, 1]
                ox, oy, oz = cos * rx + sin * ry, cos * ry - sin * rx, origin[2] - center[place, 2]
                ex, ey = cos * dx + sin * dy, cos * dy - sin * dx
                hx, hy, hz = half[place, 0], half[place, 1], half[place, 2]
                _, mx, my, nz = hit_local(kind[place], hx, hy, hz, ox, oy, oz, ex, ey, dz)
                nx, ny = cos * mx - sin * my, sin * mx + cos * my
                red, green, blue, shine, gloss = surface_of(
                    texture[place], seed[place],
                    colour[place, 0], colour[place, 1], colour[place, 2],
                    ox + t * ex, oy + t * ey, oz + t * dz, hx, hy, hz,
                    mx, my, nz, footprint, look.dark,
                )  # fmt: skip
                bias = 0.3
            facing = nx * sun[0] + ny * sun[1] + nz * sun[2]
            direct = 0.0
            if facing > 0.0:
                direct = facing * sunlight(top, top_x_min, top_y_min, sun, px, py, pz, bias)
            # The sky lights what faces up; the ground throws some of it back.
            around = (0.72 + 0.28 * nz) * min(1.0, 0.75 + 0.25 * pz)
            beam = _headlight(px - origin[0], py - origin[1], pz, nx, ny, heading, look.headlight)
            red *= look.sun[0] * direct + look.ambient[0] * around + beam + shine
            green *= look.sun[1] * direct + look.ambient[1] * around + 0.95 * beam + shine
            blue *= look.sun[2] * direct + look.ambient[2] * around + 0.85 * beam + shine
            if gloss > 0.0:
                ux, uy, uz = dx / length, dy / length, dz / length
                against = ux * nx + uy * ny + uz * nz
                mirror = gloss * (0.15 + 0.85 * (1.0 + against) ** 3)
                sky = _sky(
                    ux - 2 * against * nx, uy - 2 * against * ny, uz - 2 * against * nz, look
                )
                red += mirror * sky[0]
                green += mirror * sky[1]
                blue += mirror * sky[2]
            clear = np.exp(-t * length / look.haze_m)
            red = clear * red + (1.0 - clear) * look.horizon[0]
            green = clear * green + (1.0 - clear) * look.horizon[1]
            blue = clear * blue + (1.0 - clear) * look.horizon[2]
            _expose(red, green, blue, look, row, column, noise_seed, image)


@kernel
def _sky(x: float, y: float, z: float, look: Look) -> Rgb:
    """Colour of the sky in a direction: haze at the horizon, blue above, clouds between."""
    if z < 0.0:  # a mirror that looks down sees the street
        return 0.35 * look.horizon[0], 0.35 * look.horizon[1], 0.35 * look.horizon[2]
    low = (1.0 - z) ** 4
    red = low * look.horizon[0] + (1.0 - low) * look.zenith[0]
    green = low * look.horizon[1] + (1.0 - low) * look.zenith[1]
    blue = low * look.horizon[2] + (1.0 - low) * look.zenith[2]
    if look.cloud > 0.0 and z > 0.02:
        u, v = x / (z + 0.15), y / (z + 0.15)
        thick = 0.6 * noise_at(1.6 * u, 1.6 * v, 3) + 0.4 * noise_at(5.0 * u, 5.0 * v, 4)
        white = min(max((thick - 1.0 + look.cloud) * 2.5, 0.0), 0.85)
        red += white * (0.88 - red)
        green += white * (0.90 - green)
        blue += white * (0.93 - blue)
    return red, green, blue


@kernel
def _headlight(
    x: float, y: float, z: float, nx: float, ny: float, heading: tuple[float, float], power: float
) -> float:
    """Light of the car's own lamps at a place relative to the camera."""
    ahead = x * heading[0] + y * heading[1]
    if power == 0.0 or ahead < 1.0:
        return 0.0
    across = (y * heading[0] - x * heading[1]) / ahead
    aim = np.exp(-6.0 * across * across) * min(1.0, max(0.15, 1.6 - z))
    facing = 0.25 + 0.75 * max(0.0, -(nx * heading[0] + ny * heading[1]))
    return float(power * aim * facing * 100.0 / (100.0 + ahead * ahead))


@kernel
def _expose(
    red: float, green: float, blue: float, look: Look,
    row: int, column: int, seed: int, image: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Writes one pixel: shoulder, square root as gamma, contrast and noise."""
    for channel, light in enumerate((blue, green, red)):
        value = (light * (1.0 + 0.25 * light) / (1.0 + light)) ** 0.5 * 1.2
        value = 0.45 + look.contrast * (value - 0.45)
        # Two uniform draws make a triangle of deviation 1/sqrt(6).
        draw = hash_of(column, row, seed + channel) + hash_of(row, column, seed - channel) - 1.0
        value += look.noise * 2.449 * draw
        image[row, column, channel] = int(min(max(255.0 * value, 0.0), 255.0))
