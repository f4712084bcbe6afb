"""The ground shows its materials, near and far."""

import numpy as np
import pytest

from kd3d.datasets.synthetic.nuscenes.ground_picture import GroundPicture, ground_colour
from kd3d.datasets.synthetic.nuscenes.materials import MATERIAL_INDEX
from kd3d.datasets.synthetic.nuscenes.painting import LINEAR_RGB
from kd3d.datasets.synthetic.nuscenes.scene import Ground

CELL_M = 0.25


@pytest.fixture(scope="module")
def picture():
    """Asphalt with a line of one cell along x, from 20 m of y on grass."""
    material = np.full((160, 160), MATERIAL_INDEX["asphalt"], dtype=np.int8)
    material[40] = MATERIAL_INDEX["marking"]
    material[80:] = MATERIAL_INDEX["grass"]
    return GroundPicture.of(Ground(material, 0.0, 0.0, CELL_M))


def mean_colour(picture, y_m, footprint_m):
    """Over some metres of x, since grain changes every place."""
    places = np.arange(2.0, 38.0, 0.37)
    colours = [
        ground_colour(picture.colours, picture.lines, x, y_m, CELL_M, footprint_m) for x in places
    ]
    return np.mean(colours, axis=0)


@pytest.mark.parametrize(("y_m", "material"), [(5.0, "asphalt"), (30.0, "grass")])
@pytest.mark.parametrize("footprint_m", [0.01, 1.0])
def test_materials_keep_their_colour(picture, y_m, material, footprint_m):
    expected = LINEAR_RGB[MATERIAL_INDEX[material]]
    assert mean_colour(picture, y_m, footprint_m) == pytest.approx(expected, rel=0.15)


def test_a_line_is_white_near_by_and_fades_with_distance(picture):
    asphalt = LINEAR_RGB[MATERIAL_INDEX["asphalt"]][0]
    near, far = (mean_colour(picture, 40.5 * CELL_M, size)[0] for size in (0.02, 2.0))
    assert near > 3 * asphalt
    assert 1.1 * asphalt < far < 0.6 * near


def test_beyond_its_edges_the_ground_goes_on(picture):
    outside = ground_colour(picture.colours, picture.lines, -50.0, -50.0, CELL_M, 0.5)
    assert outside == pytest.approx(LINEAR_RGB[MATERIAL_INDEX["asphalt"]], rel=0.4)
