"""Rays that are culled solid by solid meet what every ray against every solid meets."""

import math

import numpy as np
import pytest
from nearest_hit import nearest_hit

from kd3d.datasets.synthetic.nuscenes.ray_casting import (
    BEAMS,
    FIRINGS,
    HEIGHT_M,
    LOWEST_DEG,
    RANGE_M,
    STEP_DEG,
    cast_rays,
)
from kd3d.datasets.synthetic.nuscenes.solids import BOX, SKY, Solids


def test_culled_rays_meet_what_all_rays_meet():
    rng = np.random.default_rng(4)
    rows = [
        (
            int(rng.integers(4)),
            (*rng.uniform(-30, 30, 2), float(rng.uniform(-1.5, 2))),
            tuple(rng.uniform(0.2, 3, 3)),
            float(rng.uniform(-4, 4)),
            0,
        )
        for _ in range(40)
    ]
    rows.append((BOX, (30.0, 0.0, 0.0), (0.2, 60.0, 3.0), 0.0, 0))  # a long wall
    solids = Solids.of(rows)
    clear = np.hypot(*solids.center[:, :2].T) > 5
    solids = solids[clear]
    range_m, index, cosine, _ = cast_rays(
        solids.kind, solids.center, solids.half, solids.yaw,
        np.ones(len(solids)), solids.owner, 0, 1,
    )  # fmt: skip
    lifted = solids.center + np.array([0, 0, HEIGHT_M])
    met = set()
    for beam in range(0, BEAMS, 3):
        for column in range(0, FIRINGS, 17):
            elevation = math.radians(LOWEST_DEG + STEP_DEG * beam)
            azimuth = 2 * math.pi * column / FIRINGS
            flat = math.cos(elevation)
            ray = (flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation))
            t, place, *normal = nearest_hit(
                solids.kind, lifted, solids.half, solids.yaw, 0.0, 0.0, HEIGHT_M, *ray
            )
            if t >= RANGE_M:
                t, place = math.inf, SKY
            met.add(place)
            assert index[beam, column] == place
            assert range_m[beam, column] == pytest.approx(t)
            if place != SKY:
                assert cosine[beam, column] == pytest.approx(-np.dot(normal, ray))
    assert len(met) > 20
