"""A scene: who is where at which time, over the seconds that the vehicle drives through it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.solids import Solids
from kd3d.datasets.synthetic.nuscenes.tracks import Pose, Track


@dataclass(frozen=True)
class Actor:
    """An annotated object.

    Attributes:
        category: in nuScenes' taxonomy, such as "vehicle.car".
        length_m: of the box along its heading, likewise ``width_m`` and ``height_m``.
        parts: its shape about the middle of its foot, heading along x.
        track: where it is.
        posture: what decides its attribute when it stands: "parked", "standing", ..., or "".
    """

    category: str
    length_m: float
    width_m: float
    height_m: float
    parts: Solids
    track: Track
    posture: str = ""


@dataclass(frozen=True)
class Ground:
    """What the flat ground is made of, as a raster.

    Attributes:
        material: (rows, columns) int8, row along y and column along x; index in MATERIALS.
        x_min_m: edge of the first column, likewise ``y_min_m``.
        cell_m: edge of a cell.
    """

    material: NDArray[np.int8]
    x_min_m: float
    y_min_m: float
    cell_m: float

    def at(self, xy_m: NDArray[np.float64]) -> NDArray[np.int8]:
        """Materials at points (N, 2) of the global frame; beyond the raster its edge goes on."""
        column = ((xy_m[:, 0] - self.x_min_m) / self.cell_m).astype(np.int64)
        row = ((xy_m[:, 1] - self.y_min_m) / self.cell_m).astype(np.int64)
        rows, columns = self.material.shape
        return self.material[np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)]


@dataclass(frozen=True)
class Scene:
    """A piece of world over time.

    Attributes:
        actors: whatever is annotated.
        fixtures: solids that never move and belong to no actor.
        ground: its materials.
        ego: track of the recording vehicle, the origin of the nuScenes ego frame.
        domain: "day" or "night" (with rain).
    """

    actors: tuple[Actor, ...]
    fixtures: Solids
    ground: Ground
    ego: Track
    domain: str

    def solids(self, time_s: float) -> Solids:
        """Everything in the global frame for one instant; solids of one owner are neighbours."""
        moved = [
            actor.parts.moved(*actor.track.pose(time_s), owner=place)
            for place, actor in enumerate(self.actors)
        ]
        return Solids.joined([self.fixtures, *moved])

    def ego_pose(self, time_s: float) -> Pose:
        """Of the recording vehicle; its ground is z = 0."""
        return self.ego.pose(time_s)
