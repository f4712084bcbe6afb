"""A spinning LiDAR of 32 beams: what it returns from the solids of one instant.

Elevations and mount are those of nuScenes' LIDAR_TOP (Velodyne HDL-32E: +10.67 to -30.67 degrees
in 32 equal steps, 20 Hz; about 1084 firings a turn); the frame is x right, y forward, z up. All
rays of a turn leave at one instant, as after nuScenes' motion compensation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.kernels import kernel
from kd3d.datasets.synthetic.nuscenes.materials import FILL, REFLECTIVITY, ROUGHNESS_M
from kd3d.datasets.synthetic.nuscenes.ray_casting import (
    BEAMS,
    FIRINGS,
    HEIGHT_M,
    LOWEST_DEG,
    RANGE_M,
    STEP_DEG,
    cast_rays,
)
from kd3d.datasets.synthetic.nuscenes.scene import Ground
from kd3d.datasets.synthetic.nuscenes.solids import GROUND, SKY, Solids
from kd3d.datasets.synthetic.nuscenes.tracks import Pose

MOUNT_M = (0.943713, 0.0, HEIGHT_M)  # in the ego frame
MOUNT_YAW = -np.pi / 2  # x right, y forward


@dataclass(frozen=True)
class Weather:
    """What the air and the wet do to a return.

    Attributes:
        extinction: of the way there and back, 1/m.
        gain: of every return.
        dropout: share of rays without return whatever they meet.
        range_noise_m: standard deviation.
        ghosts: share of rays that return from a rain drop near by.
    """

    extinction: float
    gain: float
    dropout: float
    range_noise_m: float
    ghosts: float


WEATHER = {
    "day": Weather(0.001, 1.0, 0.03, 0.02, 0.0),
    "night": Weather(0.006, 0.35, 0.10, 0.03, 0.004),
}


@dataclass(frozen=True)
class Sweep:
    """One turn of the LiDAR.

    Attributes:
        points: (P, 5) float32 x, y, z in metres (LiDAR frame), intensity 0-255, ring 0 (lowest)-31.
        owner: (P,) int32, the actor that returned the point, -1 for none.
        possible: (A,) rays that would meet each actor if nothing stood before it.
        seen: (A,) rays that do.
    """

    points: NDArray[np.float32]
    owner: NDArray[np.int32]
    possible: NDArray[np.int64]
    seen: NDArray[np.int64]


def lidar_pose(ego: Pose) -> Pose:
    """The LiDAR's place and heading (of its x axis) in the global frame."""
    x, y = ego.to_global(np.array([MOUNT_M[:2]]))[0]
    return Pose(float(x), float(y), ego.yaw + MOUNT_YAW)


def scan(
    solids: Solids,
    ground: Ground,
    ego: Pose,
    weather: Weather,
    actors: int,
    seed: int,
    *,
    reach_m: float = RANGE_M,
) -> Sweep:
    """Looks once around.

    Args:
        solids: of the instant, in the global frame; solids of one owner are neighbours.
        ground: materials of the plane z = 0.
        ego: pose of the vehicle, which does not see itself.
        weather: one of ``WEATHER``.
        actors: owners are below this number.
        seed: of noise and drop-out.
        reach_m: returns from farther away are lost, as those of a sensor of shorter range.
    """
    sensor = lidar_pose(ego)
    center = solids.center.copy()
    center[:, :2] = sensor.to_local(solids.center[:, :2])
    center[:, 2] -= MOUNT_M[2]
    near = np.hypot(center[:, 0], center[:, 1]) < RANGE_M + np.hypot(*solids.half.T[:2])
    chosen = solids[near]
    range_m, index, cosine, possible = cast_rays(
        chosen.kind, center[near], chosen.half, chosen.yaw - sensor.yaw,
        FILL[chosen.material], chosen.owner, actors, seed & 0x7FFFFFFF,
    )  # fmt: skip
    azimuth = 2 * np.pi * np.arange(FIRINGS) / FIRINGS
    elevation = np.radians(LOWEST_DEG + STEP_DEG * np.arange(BEAMS))[:, None]
    ring, column = np.nonzero(index != SKY)
    elevation, azimuth = elevation[ring, 0], azimuth[column]
    range_m, index, cosine = range_m[ring, column], index[ring, column], cosine[ring, column]
    direction = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ],
        axis=1,
    )
    on_ground = index == GROUND
    material = np.zeros(len(index), dtype=np.int8)
    material[~on_ground] = chosen.material[index[~on_ground]]
    feet = sensor.to_global(direction[on_ground, :2] * range_m[on_ground, None])
    material[on_ground] = ground.at(feet)
    owner = np.where(on_ground, -1, chosen.owner[index]) if len(chosen) else index * 0 - 1
    seen = np.bincount(owner[owner >= 0], minlength=actors)

    rng = np.random.default_rng(seed)
    kept, range_m, intensity = _returns(range_m, cosine, material, on_ground, weather, rng)
    kept &= range_m <= reach_m
    points = np.column_stack([direction * range_m[:, None], intensity, ring])[kept]
    return Sweep(points.astype(np.float32), owner[kept].astype(np.int32), possible, seen)


def _returns(
    range_m: NDArray[np.float64],
    cosine: NDArray[np.float64],
    material: NDArray[np.int8],
    on_ground: NDArray[np.bool_],
    weather: Weather,
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Which rays return, the range they measure and the intensity."""
    count = len(range_m)
    air = weather.gain * np.exp(-2 * weather.extinction * range_m)
    # Lambertian at normal incidence, less steep when grazing, as rough surfaces are.
    back = REFLECTIVITY[material] * np.clip(cosine, 0.02, 1.0) ** 0.8 * air
    signal = back * np.minimum((30.0 / range_m) ** 2, 20.0)
    found = signal / (signal + 0.002) * (1 - weather.dropout)
    kept = rng.random(count) < found
    sigma = np.hypot(weather.range_noise_m, ROUGHNESS_M[material])
    # 8 mm of unevenness move the foot of a grazing ray by many times that
    uneven = np.where(on_ground, np.minimum(0.008 / np.maximum(cosine, 0.01), 0.3), 0.0)
    measured = range_m + rng.normal(size=count) * np.hypot(sigma, uneven)
    ghost = rng.random(count) < weather.ghosts
    drops = np.minimum(rng.uniform(1.5, 12.0, size=count), range_m)
    measured = np.where(ghost, drops, measured)
    intensity = 255 * back**0.8 * rng.uniform(0.75, 1.1, size=count)
    intensity = np.where(ghost, rng.uniform(0, 4, size=count), intensity)
    return kept | ghost, measured, np.floor(np.clip(intensity, 0, 255))


@kernel
def points_inside(
    points: NDArray[np.float32], center: NDArray[np.float64],
    size: NDArray[np.float64], yaw: NDArray[np.float64],
) -> NDArray[np.int64]:  # fmt: skip
    """How many points lie in each box, faces included.

    Args:
        points: (P, 3) or more columns; x, y, z first.
        center: (N, 3) of the boxes, same frame.
        size: (N, 3) along the box's own x, y, z.
        yaw: (N,).
    """
    counts = np.zeros(len(center), dtype=np.int64)
    for place in range(len(center)):
        x0, y0, z0 = center[place]
        hx, hy, hz = size[place] / 2
        cos, sin = np.cos(yaw[place]), np.sin(yaw[place])
        reach = hx + hy
        for number in range(len(points)):
            x, y = points[number, 0] - x0, points[number, 1] - y0
            if (
                abs(x) <= reach
                and abs(y) <= reach
                and abs(points[number, 2] - z0) <= hz
                and abs(cos * x + sin * y) <= hx
                and abs(cos * y - sin * x) <= hy
            ):
                counts[place] += 1
    return counts
