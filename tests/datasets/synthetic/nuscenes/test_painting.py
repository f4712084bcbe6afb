"""Solids get the textures of what they are, and textures paint the right places."""

import numpy as np
import pytest

from kd3d.datasets.synthetic.nuscenes import textures
from kd3d.datasets.synthetic.nuscenes.materials import MATERIAL_INDEX
from kd3d.datasets.synthetic.nuscenes.painting import painting_of
from kd3d.datasets.synthetic.nuscenes.scene import Actor, Ground, Scene
from kd3d.datasets.synthetic.nuscenes.shapes import shape_of
from kd3d.datasets.synthetic.nuscenes.solids import BOX, ELLIPSOID, Solids
from kd3d.datasets.synthetic.nuscenes.textures import is_hole, surface_of
from kd3d.datasets.synthetic.nuscenes.tracks import Pose, standing_at

HERE = standing_at(Pose(10.0, 10.0, 1.0))
WHITE = (0.8, 0.8, 0.8)


def actor_of(category, size_m):
    parts = shape_of(category, size_m, np.random.default_rng(1), ridden=False)
    return Actor(category, *size_m, parts, HERE)


@pytest.fixture(scope="module")
def scene():
    wall = (BOX, (0.0, 0.0, 5.0), (5.0, 3.0, 5.0), 0.0, MATERIAL_INDEX["brick"])
    low = (BOX, (0.0, 9.0, 0.5), (5.0, 0.1, 0.5), 0.0, MATERIAL_INDEX["brick"])
    bush = (ELLIPSOID, (0.0, 9.0, 0.5), (1.0, 1.0, 0.5), 0.0, MATERIAL_INDEX["foliage"])
    cars = actor_of("vehicle.car", (4.6, 1.9, 1.7)), actor_of("vehicle.bicycle", (1.7, 0.6, 1.3))
    ground = Ground(np.zeros((4, 4), np.int8), 0.0, 0.0, 1.0)
    return Scene(cars, Solids.of([wall, low, bush]), ground, HERE, "day")


def test_textures_by_material_and_size(scene):
    texture = painting_of(scene, 0).texture.tolist()
    assert len(texture) == len(scene.solids(0.0))
    assert texture[:3] == [textures.FACADE, textures.PLAIN, textures.LEAVES]
    car = texture[3 : 3 + len(scene.actors[0].parts)]
    whole = textures.BODY + textures.NOSE + textures.TAIL + textures.DOORS
    assert car.count(whole) == 1  # the lower body, from bumper to bumper
    assert car.count(textures.WHEEL) == 4
    assert car.count(textures.GLASS) == 1
    assert all(one < textures.BODY for one in texture[3 + len(car) :])  # a bicycle has no lamps


def test_paintings_follow_from_the_seed(scene):
    first, again, other = (painting_of(scene, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.colour, again.colour)
    assert np.array_equal(first.seed, again.seed)
    assert not np.array_equal(first.colour, other.colour)
    assert np.all((first.colour >= 0) & (first.colour <= 0.92))


def body(x, y, z, normal, has, dark=0.0):
    half = (2.3, 0.9, 0.4)  # 0.8 m high: lamps at 0.62 * 0.8 = 0.496 m, 0.096 above the middle
    return surface_of(textures.BODY + has, 1, *WHITE, x, y, z, *half, *normal, 0.01, dark)


def test_lamps_of_a_car():
    ahead, behind = (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)
    red, green, blue, shine, _ = body(-2.3, 0.72, 0.096, behind, textures.TAIL)
    assert red > 10 * max(green, blue)
    assert shine > 0
    assert body(2.3, 0.72, 0.096, ahead, textures.NOSE, dark=1.0)[3] > 1
    assert body(2.3, 0.72, 0.096, ahead, textures.TAIL)[:4] == (*WHITE, 0.0)
    assert body(0.0, 0.9, 0.1, (0.0, 1.0, 0.0), textures.DOORS)[:3] == WHITE
    assert body(0.115, 0.9, 0.1, (0.0, 1.0, 0.0), textures.DOORS)[0] < 0.5  # the seam


def test_windows_of_a_wall():
    def wall(u, height, dark=0.0):
        # 20 m long, 12 m high; x counts from the middle, bays from x = 0
        place = (u, 3.0, height - 6.0, 10.0, 3.0, 6.0)
        return surface_of(textures.FACADE, 4, *WHITE, *place, 0.0, 1.0, 0.0, 0.05, dark)

    rows = np.linspace(3.2, 6.4, 40, endpoint=False) + 0.01  # the first storey above the shops
    glazed = [[wall(u, height)[2] < 0.3 for u in np.linspace(0, 9.9, 100)] for height in rows]
    # a window takes 0.73 - 0.27 of a bay and 0.82 - 0.30 of a storey
    assert np.mean(glazed) == pytest.approx(0.46 * 0.52, abs=0.05)
    lit = [wall(u, 5.0, dark=1.0)[3] > 0 for u in np.linspace(-9.9, 9.9, 400)]
    assert 0 < np.mean(lit) < 0.46


def test_spokes_of_a_wheel():
    def hole(x, z):
        return is_hole(textures.LATTICE, 1, ELLIPSOID, x, 0.0, z, 0.34, 0.05, 0.34, 1.0, 0.01)

    assert not hole(0.0, 0.0)  # hub
    assert hole(0.2, 0.0)
    assert not hole(0.0, 0.32)  # rim
