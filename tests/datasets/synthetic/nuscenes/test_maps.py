"""The devkit reads the map mask at the right places."""

import numpy as np
import pytest
from nuscenes.utils.map_mask import MapMask

from kd3d.datasets.synthetic.nuscenes.maps import write_map
from kd3d.datasets.synthetic.nuscenes.materials import MATERIAL_INDEX
from kd3d.datasets.synthetic.nuscenes.scene import Ground


def ground(x_min_m: float, y_min_m: float, yard: str = "grass") -> Ground:
    """A yard, 10 m x 5 m; 1 m from its corner 2 m x 1 m of asphalt, then pavement beside in x."""
    material = np.full((10, 20), MATERIAL_INDEX[yard], dtype=np.int8)
    material[2:4, 2:6] = MATERIAL_INDEX["asphalt"]
    material[2:4, 6:8] = MATERIAL_INDEX["pavement"]
    return Ground(material, x_min_m, y_min_m, 0.5)


@pytest.mark.parametrize(
    ("yard", "expected"),
    [("grass", [1, 1, 0, 0, 0]), ("pavement", [1, 0, 0, 0, 0]), ("asphalt", [1, 1, 1, 1, 0])],
)
def test_devkit_finds_the_street(tmp_path, yard, expected):
    write_map(tmp_path / "map.png", ground(3.0, 4.0, yard))
    mask = MapMask(str(tmp_path / "map.png"))
    assert mask.mask().shape == (90, 130)  # (4 + 5) m and (3 + 10) m at 0.1 m
    assert set(np.unique(mask.mask())) == {0, 255}
    # asphalt, pavement, yard beside it, yard above it, before the ground
    x, y = [4.5, 6.5, 7.6, 4.5, 1.0], [5.5, 5.5, 5.5, 6.6, 1.0]
    assert mask.is_on_mask(x, y).tolist() == [bool(on) for on in expected]


def test_negative_coordinates_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"y -1 m, expected 0 or more"):
        write_map(tmp_path / "map.png", ground(0.0, -1.0))
