"""How much of an object all six images together show."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.photographs import Photograph


def visibility_of(photographs: Sequence[Photograph]) -> NDArray[np.float64]:
    """(number of actors,) share of each actor's pixels that show, over all images.

    The pixels of an actor are those that it would cover in the images if nothing stood before it;
    an actor that no image reaches has share 0.
    """
    visible = np.sum([photograph.visible_px for photograph in photographs], axis=0)
    alone = np.sum([photograph.alone_px for photograph in photographs], axis=0)
    share: NDArray[np.float64] = visible / np.maximum(alone, 1)
    return share
