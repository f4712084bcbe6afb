"""Where rays meet solids, against ranges worked out by hand."""

import math

import numpy as np
import pytest

from kd3d.datasets.synthetic.nuscenes.solids import (
    BOX,
    CONE,
    CYLINDER,
    ELLIPSOID,
    Solids,
    hit_local,
)

SQRT_HALF = math.sqrt(0.5)
MISS = (math.inf, 0, 0, 0)


@pytest.mark.parametrize(
    ("kind", "half", "origin", "direction", "expected"),
    [
        (BOX, (1, 2, 3), (-5, 0, 0), (1, 0, 0), (4, -1, 0, 0)),
        (BOX, (1, 2, 3), (0, 0, 10), (0, 0, -1), (7, 0, 0, 1)),
        (BOX, (1, 1, 1), (-3, -2.5, 0), (SQRT_HALF, SQRT_HALF, 0), (2 / SQRT_HALF, -1, 0, 0)),
        (BOX, (1, 1, 1), (-3, 1.5, 0), (1, 0, 0), MISS),
        (BOX, (1, 1, 1), (3, 0, 0), (1, 0, 0), MISS),  # it lies behind
        (BOX, (1, 1, 1), (0, 0, 0), (1, 0, 0), MISS),  # starts inside
        (CYLINDER, (2, 2, 1), (-5, 0, 0.5), (1, 0, 0), (3, -1, 0, 0)),
        # beside the axis: x = -sqrt(2^2 - 1^2) at y = 1
        (CYLINDER, (2, 2, 1), (-5, 1, 0), (1, 0, 0), (5 - 3**0.5, -(3**0.5) / 2, 0.5, 0)),
        (CYLINDER, (2, 1, 1), (0, -5, 0), (0, 1, 0), (4, 0, -1, 0)),  # elliptic
        (CYLINDER, (2, 2, 1), (1, 0, 6), (0, 0, -1), (5, 0, 0, 1)),  # the cap
        (CYLINDER, (2, 2, 1), (-5, 0, 1.5), (1, 0, 0), MISS),  # passes above
        (ELLIPSOID, (3, 2, 1), (-5, 0, 0), (1, 0, 0), (2, -1, 0, 0)),
        (ELLIPSOID, (3, 2, 1), (0, 0, 5), (0, 0, -1), (4, 0, 0, 1)),
        (ELLIPSOID, (1, 1, 1), (-5, 0.6, 0), (1, 0, 0), (5 - 0.8, -0.8, 0.6, 0)),
        (ELLIPSOID, (1, 1, 1), (-5, 1.1, 0), (1, 0, 0), MISS),
        # apex at z = 1, radius 1 at z = -1: half of it at the middle; the side rises 2 over 1
        (CONE, (1, 1, 1), (-5, 0, 0), (1, 0, 0), (4.5, -2 / 5**0.5, 0, 1 / 5**0.5)),
        (CONE, (1, 1, 1), (0.25, 0, 5), (0, 0, -1), (4.5, 2 / 5**0.5, 0, 1 / 5**0.5)),
        (CONE, (1, 1, 1), (0.5, 0, -5), (0, 0, 1), (4, 0, 0, -1)),  # the base
        (CONE, (1, 1, 1), (-5, 0.6, 0), (1, 0, 0), MISS),
        (CONE, (1, 1, 1), (0, 0, -0.5), (1, 0, 0), MISS),  # starts inside
        (CONE, (1, 1, 1), (-5, 0, 1.2), (1, 0, 0), MISS),  # above, where the other nappe would be
    ],
)
def test_hand_worked_hits(kind, half, origin, direction, expected):
    values = (float(v) for v in (*half, *origin, *direction))
    assert hit_local(kind, *values) == pytest.approx(expected)


def test_moving_turns_about_the_foot():
    part = Solids.of([(BOX, (2, 0, 1), (0.5, 0.4, 1), 0.1, 3)])
    moved = part.moved(10.0, 20.0, math.pi / 2, owner=7)
    assert moved.center == pytest.approx(np.array([[10, 22, 1]]))
    assert moved.yaw == pytest.approx([0.1 + math.pi / 2])
    assert moved.owner.tolist() == [7]
    joined = Solids.joined([part, moved])
    assert len(joined) == 2
    assert len(joined[joined.owner == 7]) == 1
