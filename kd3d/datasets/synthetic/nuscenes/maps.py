"""The map mask that the devkit's renderers show: where one may drive or walk."""

from pathlib import Path

import cv2
import numpy as np

from kd3d.datasets.synthetic.nuscenes.materials import MATERIAL_INDEX, MATERIALS
from kd3d.datasets.synthetic.nuscenes.scene import Ground

PIXEL_M = 0.1  # the resolution that the devkit takes a map to have
FOREGROUND = 255
_STREET = ("asphalt", "marking", "pavement")
_PRIOR = np.array([FOREGROUND * (m.name in _STREET) for m in MATERIALS], dtype=np.uint8)
# Runs of equal pixels: as small as the best, in half the time.
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]


def write_map(path: Path, ground: Ground) -> None:
    """Writes the semantic prior of a scene, its roads and pavements, as a PNG of 0 and 255.

    The land beside the roads, known by the raster's corner, is background if it is paved with
    slabs like the pavements; if it is asphalt like the roads, everything is foreground.

    As in nuScenes, the left lower corner of the picture is the origin of the global frame, x runs
    to the right and y up, so that rows count from the top.

    Args:
        path: of the file; its folder exists.
        ground: with no part at negative coordinates.
    """
    if min(ground.x_min_m, ground.y_min_m) < 0:
        raise ValueError(
            f"map {path.name}: the ground begins at x {ground.x_min_m:g} m, y {ground.y_min_m:g} "
            "m, expected 0 or more; move the scene"
        )
    prior = _PRIOR.copy()
    if ground.material[0, 0] == MATERIAL_INDEX["pavement"]:
        prior[MATERIAL_INDEX["pavement"]] = 0
    street = prior[ground.material]
    rows, columns = (round(cells * ground.cell_m / PIXEL_M) for cells in street.shape)
    picture = cv2.resize(street, (columns, rows), interpolation=cv2.INTER_NEAREST)
    left, below = round(ground.x_min_m / PIXEL_M), round(ground.y_min_m / PIXEL_M)
    mask = np.zeros((below + rows, left + columns), dtype=np.uint8)
    mask[below:, left:] = picture
    # One bit a pixel would be smaller still, but then the devkit reads True for 255.
    done, encoded = cv2.imencode(".png", mask[::-1], _PNG)
    assert done
    path.write_bytes(encoded.tobytes())
