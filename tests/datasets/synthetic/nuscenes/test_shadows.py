"""Shadows fall where the sun's height puts them."""

import numpy as np
import pytest

from kd3d.datasets.synthetic.nuscenes.shadows import REACH_M, shadows_of, sunlight
from kd3d.datasets.synthetic.nuscenes.solids import BOX, Solids

SUN = np.array([1.0, 0.0, 1.0]) / np.sqrt(2)  # 45 degrees above +x


@pytest.fixture(scope="module")
def shadows():
    # 1 m wide, 2 m high, around the origin: its shadow ends 2 m behind its far edge, at x = -2.5
    box = Solids.of([(BOX, (0.0, 0.0, 1.0), (0.5, 0.5, 1.0), 0.0, 0)])
    return shadows_of(box, (0.0, 0.0), SUN)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((-1.5, 0.0, 0.0), 0.0),
        ((-3.0, 0.0, 0.0), 1.0),  # beyond the shadow
        ((-1.5, 1.0, 0.0), 1.0),  # beside it
        ((1.5, 0.0, 0.0), 1.0),  # on the sunny side
        ((-1.5, 0.0, 1.5), 1.0),  # above it: there the shadow is 2.5 - 1.5 = 1 m high
        ((-1.5, 0.0, 0.5), 0.0),
        ((0.0, 0.0, 2.0), 1.0),  # the box's own top
        ((REACH_M + 5, 0.0, 0.0), 1.0),  # off the map
    ],
)
def test_sunlight(shadows, point, expected):
    lit = sunlight(shadows.top_m, shadows.x_min_m, shadows.y_min_m, SUN, *point, 0.05)
    assert lit == expected


def test_height_of_what_meets_a_ray_first(shadows):
    # the ray to (-1, 0, 0) is z = x + 1 and enters through the sunny face x = 0.5 at z = 1.5
    row, column = (round((at + REACH_M) / 0.2 - 0.5) for at in (0.1, -0.9))
    assert shadows.top_m[row, column] == pytest.approx(0.5 + 0.9, abs=1e-3)
