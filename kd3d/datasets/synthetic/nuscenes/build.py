"""Builds a scene from a seed."""

import numpy as np

from kd3d.datasets.synthetic.nuscenes.clutter import kerbside
from kd3d.datasets.synthetic.nuscenes.overlaps import without_overlaps
from kd3d.datasets.synthetic.nuscenes.plots import fill_plots, fill_strips
from kd3d.datasets.synthetic.nuscenes.roads import draw_ground, draw_network
from kd3d.datasets.synthetic.nuscenes.scene import Scene
from kd3d.datasets.synthetic.nuscenes.solids import Solids
from kd3d.datasets.synthetic.nuscenes.traffic import (
    cyclists,
    draw_lanes,
    ego_track,
    fill_lane,
    walkers,
)

BEFORE_M = 90.0  # of the main road behind the vehicle's start


def build_scene(seed: list[int], duration_s: float, domain: str) -> Scene:
    """A scene that follows from its seed.

    Args:
        seed: of the set and the number of the scene.
        duration_s: how long the vehicle drives.
        domain: "day" or "night".
    """
    rng = np.random.default_rng(seed)
    network = draw_network(rng, drive_m=14.0 * duration_s, first_m=BEFORE_M)
    lanes = draw_lanes(network, rng, BEFORE_M)
    rows = [row for road in network.roads for row in kerbside(road, rng)]
    actors = [actor for lane in lanes for actor in fill_lane(lane, rng)]
    for road in network.roads:
        per_100_m = road.path.length_m / 100
        actors += fill_strips(road, rng)
        actors += walkers(road, rng, 4.5 * per_100_m)
        actors += cyclists(road, rng, 0.25 * per_100_m)
    standing, more = fill_plots(network, rng)
    ground = draw_ground(network, str(rng.choice(["grass", "pavement", "asphalt"])))
    return Scene(
        tuple(without_overlaps(actors + standing, duration_s)),
        Solids.of(rows + more),
        ground,
        ego_track(lanes[0]),
        domain,
    )
