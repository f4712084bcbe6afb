"""A made-up point cloud to prove and to time an export with."""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
_BEAMS, _STEPS = 32, 1080  # of the LiDAR that the synthetic clouds imitate


def synthetic_cloud(features: int, seed: int = 0) -> Points:
    """(N, features) points of a street: flat ground, and things of random distance and height.

    32 beams of 1080 steps from 1.8 m above the ground, as many points as one sweep of a real
    LiDAR. x y z in metres, the third feature on: intensity in [0, 1], then 0.
    """
    generator = np.random.default_rng(seed)
    azimuth = np.linspace(-np.pi, np.pi, _STEPS, endpoint=False)
    elevation = np.deg2rad(np.linspace(-30, 10, _BEAMS))[:, None]
    ground = np.where(elevation < 0, 1.8 / np.maximum(np.tan(-elevation), 1e-6), 1e3)
    things = generator.uniform(3, 70, 60), generator.uniform(-1.5, 4, 60)
    sector = np.sort(generator.integers(0, 60, _STEPS))
    distance, top = things[0][sector], things[1][sector]
    hits_thing = (distance < ground) & (distance * np.tan(elevation) < top)
    reach = np.where(hits_thing, distance, ground) + generator.normal(0, 0.02, ground.shape)
    xyz = np.stack([reach * np.cos(azimuth), reach * np.sin(azimuth), reach * np.tan(elevation)])
    points = np.zeros((xyz[0].size, features), dtype=np.float32)
    points[:, :3] = xyz.reshape(3, -1).T
    if features > 3:
        points[:, 3] = generator.uniform(0, 1, len(points))
    near: Points = points[np.hypot(points[:, 0], points[:, 1]) < 100]
    return near
