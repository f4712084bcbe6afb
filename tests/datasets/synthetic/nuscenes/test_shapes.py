"""Shapes lie in their boxes and fill them."""

import numpy as np
import pytest

from kd3d.datasets.synthetic.nuscenes.catalogue import CATEGORIES, CLASSES, SIZES, attribute_of
from kd3d.datasets.synthetic.nuscenes.shapes import shape_of
from kd3d.datasets.synthetic.nuscenes.solids import CONE

RIDABLE = ("vehicle.bicycle", "vehicle.motorcycle")
CASES = [(category, False) for category in SIZES] + [(category, True) for category in RIDABLE]


@pytest.mark.parametrize(("category", "ridden"), CASES)
def test_shape_lies_in_its_box_and_nearly_fills_it(category, ridden):
    rng = np.random.default_rng(0)
    for _ in range(10):
        size = np.array(SIZES[category].draw(rng))
        parts = shape_of(category, tuple(size), rng, ridden)
        low = (parts.center - parts.half).min(axis=0)
        high = (parts.center + parts.half).max(axis=0)
        box_low, box_high = np.array([-size[0] / 2, -size[1] / 2, 0.0]), size / [2, 2, 1]
        assert (low >= box_low - 0.02).all()
        assert (high <= box_high + 0.02).all()
        assert ((high - low) >= 0.55 * size).all()
        assert (parts.half > 0).all()
        assert low[2] == pytest.approx(0.0, abs=0.01)
        assert high[2] == pytest.approx(size[2], abs=0.05)


def test_shapes_are_more_than_boxes():
    rng = np.random.default_rng(1)
    parts = {c: shape_of(c, SIZES[c].draw(rng), rng, False) for c in SIZES}
    assert all(len(parts[c]) >= 5 for c in SIZES if c.startswith(("vehicle", "human")))
    cones = [shape_of("movable_object.trafficcone", (0.4, 0.4, 1.0), rng, False) for _ in range(9)]
    assert any(CONE in cone.kind for cone in cones)
    rider = shape_of("vehicle.bicycle", (1.7, 0.6, 1.7), rng, True)
    assert len(rider) > len(parts["vehicle.bicycle"])


def test_sizes_are_nuscenes_sizes():
    rng = np.random.default_rng(2)
    drawn = np.array([SIZES["vehicle.car"].draw(rng) for _ in range(2000)])
    assert drawn.mean(axis=0) == pytest.approx([4.62, 1.95, 1.73], abs=0.03)
    assert np.corrcoef(drawn.T)[0, 2] > 0.25  # long cars are high


def test_categories_and_attributes():
    assert len(CATEGORIES) == len(set(CATEGORIES)) == 23
    assert set(CLASSES) <= set(CATEGORIES)
    assert len(set(CLASSES.values())) == 10
    assert attribute_of("traffic", 3.0) == "vehicle.moving"
    assert attribute_of("traffic", 0.0) == "vehicle.stopped"
    assert attribute_of("walking", 1.0) == "pedestrian.moving"
    assert attribute_of("walking", 0.0) == "pedestrian.standing"
    assert attribute_of("vehicle.parked", 0.0) == "vehicle.parked"
    assert attribute_of("", 0.0) is None
