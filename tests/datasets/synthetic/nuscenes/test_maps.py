"""The devkit reads the map mask at the right places."""

import numpy as np
import pytest
from nuscenes.utils.map_mask import MapMask

from kd3d.datasets.synthetic.nuscenes.maps import write_map
from kd3d.datasets.synthetic.nuscenes.materials import MATERIAL_INDEX
from kd3d.datasets.synthetic.nuscenes.scene import Ground


def ground(x_min_m: float, y_min_m: float) -> Ground:
    """Grass, 10 m x 5 m, with 2 m x 1 m of asphalt at its origin and pavement beside it in x."""
    material = np.full((10, 20), MATERIAL_INDEX["grass"], dtype=np.int8)
    material[:2, :4] = MATERIAL_INDEX["asphalt"]
    material[:2, 4:6] = MATERIAL_INDEX["pavement"]
    return Ground(material, x_min_m, y_min_m, 0.5)


def test_devkit_finds_the_street(tmp_path):
    write_map(tmp_path / "map.png", ground(3.0, 2.0))
    mask = MapMask(str(tmp_path / "map.png"))
    assert mask.mask().shape == (70, 130)  # (2 + 5) m and (3 + 10) m at 0.1 m
    assert set(np.unique(mask.mask())) == {0, 255}
    #        asphalt, pavement, grass beside, grass above, before the ground
    x, y = [3.5, 5.5, 6.6, 3.5, 1.0], [2.5, 2.5, 2.5, 3.6, 1.0]
    assert mask.is_on_mask(x, y).tolist() == [True, True, False, False, False]


def test_negative_coordinates_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"y -1 m, expected 0 or more"):
        write_map(tmp_path / "map.png", ground(0.0, -1.0))
