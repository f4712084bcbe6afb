"""Traffic on the lanes: queues at red lights, columns that drive, cyclists, people who walk."""

from dataclasses import dataclass

import numpy as np

from kd3d.datasets.synthetic.nuscenes.catalogue import SIZES
from kd3d.datasets.synthetic.nuscenes.roads import LANE_M, PAVEMENT_M, Network, Road
from kd3d.datasets.synthetic.nuscenes.scene import Actor
from kd3d.datasets.synthetic.nuscenes.shapes import shape_of
from kd3d.datasets.synthetic.nuscenes.tracks import Motion, Track

EGO_FRONT_M, EGO_REAR_M = 3.6, 1.1  # from its origin, the rear axle
WALKER = "human.pedestrian.adult"
HITCH_M = 0.6  # between a truck and its trailer
ON_THE_ROAD = {  # shares among what drives
    "vehicle.car": 0.79,
    "vehicle.truck": 0.12,
    "vehicle.bus.rigid": 0.03,
    "vehicle.trailer": 0.02,
    "vehicle.motorcycle": 0.035,
    "vehicle.construction": 0.005,
}


def make_actor(
    category: str,
    track: Track,
    posture: str,
    rng: np.random.Generator,
    size_m: tuple[float, float, float] | None = None,
) -> Actor:
    """An object of drawn size and shape on a track."""
    length, width, height = size_m or SIZES[category].draw(rng)
    ridden = posture == "cycle.with_rider"
    if ridden:
        height = max(height, 1.55) + 0.15
    parts = shape_of(category, (length, width, height), rng, ridden)
    return Actor(category, length, width, height, parts, track, posture)


@dataclass(frozen=True)
class Lane:
    """One lane of one road.

    Attributes:
        road: the lane's road.
        left_m: of its middle line, left of the road's own direction.
        forward: driving direction along the road's path, or against it.
        speed_mps: of all that drives here.
        red: whether the light at the road's first crossing is red.
        ego_m: where on the path the recording vehicle starts in this lane, else None.
    """

    road: Road
    left_m: float
    forward: bool
    speed_mps: float
    red: bool
    ego_m: float | None = None

    def progress(self, s_m: float) -> float:
        """Arc length counted in driving direction; its own inverse."""
        return s_m if self.forward else -s_m

    @property
    def line_m(self) -> float:
        """Where the front of a queue stands, counted in driving direction."""
        return self.progress(self.road.crossings[0]) - self.road.crossing_half_m - 5.0

    @property
    def beyond_m(self) -> float:
        """Where the crossing ends, counted in driving direction."""
        return self.progress(self.road.crossings[0]) + self.road.crossing_half_m

    def kept_free(self) -> tuple[float, float] | None:
        """The stretch of the recording vehicle; up to the line where it comes to a red light."""
        if self.ego_m is None:
            return None
        ahead = self.line_m if self.red and self.ego_m < self.line_m else self.ego_m + 11.0
        return self.ego_m - 6.0, ahead


def ego_track(lane: Lane) -> Track:
    """The recording vehicle, first in the queue of its lane if the light is red."""
    assert lane.ego_m is not None
    motion = Motion(lane.speed_mps)
    if lane.red and lane.ego_m < lane.line_m:
        motion = Motion(lane.speed_mps, max(lane.line_m - EGO_FRONT_M - lane.ego_m, 0.1))
    return Track(lane.road.path, lane.ego_m, lane.left_m, True, motion)


def fill_lane(lane: Lane, rng: np.random.Generator) -> list[Actor]:
    """Vehicles in a lane, from the foremost to the last, from end to end of the road."""
    actors: list[Actor] = []
    first, place = sorted((lane.progress(0.0), lane.progress(lane.road.path.length_m)))
    free = lane.kept_free()
    stand = lane.line_m  # where the next one in the queue stops, with its front
    if free and free[1] == stand:
        stand -= EGO_FRONT_M + EGO_REAR_M + 2.5
    mean_gap_m = float(rng.uniform(9, 45))
    while True:
        category = str(rng.choice(list(ON_THE_ROAD), p=list(ON_THE_ROAD.values())))
        group = ["vehicle.truck", category] if category == "vehicle.trailer" else [category]
        sizes = [SIZES[name].draw(rng) for name in group]
        length = sum(size[0] for size in sizes) + HITCH_M * (len(sizes) - 1)
        front = place - 3.0 - float(rng.exponential(mean_gap_m))
        if free and front > free[0] and front - length < free[1]:
            front = free[0]
        if lane.red and lane.line_m < front < lane.beyond_m + length:
            front = lane.line_m - float(rng.exponential(mean_gap_m))
            if free and free[0] < front < free[1]:
                front = free[0]
        if front < first:
            return actors
        motion = Motion(lane.speed_mps)
        if lane.red and front <= lane.line_m:
            motion = Motion(lane.speed_mps, stand - front) if front < stand else Motion()
            stand -= length + float(rng.uniform(1.8, 3.0))
        place = front - length
        for name, size in zip(group, sizes, strict=True):
            posture = "cycle.with_rider" if name == "vehicle.motorcycle" else "traffic"
            track = _lane_track(lane, front - size[0] / 2, motion)
            actors.append(make_actor(name, track, posture, rng, size))
            front -= size[0] + HITCH_M


def _lane_track(lane: Lane, progress_m: float, motion: Motion) -> Track:
    return Track(lane.road.path, lane.progress(progress_m), lane.left_m, lane.forward, motion)


def draw_lanes(network: Network, rng: np.random.Generator, ego_m: float) -> list[Lane]:
    """All lanes with their speeds and lights, the recording vehicle's lane first.

    Args:
        network: the roads.
        rng: decides everything.
        ego_m: arc length of the main road where the recording vehicle starts.
    """
    main_is_red = bool(rng.random() < 0.35)
    city_mps = float(rng.uniform(6.0, 13.0))
    ego_place = int(rng.integers(network.main.lanes))
    lanes: list[Lane] = []
    for number, road in enumerate(network.roads):
        # only the first crossing has its lights turned; at the second the main road goes on
        red = main_is_red if number == 0 else number > 1 or not main_is_red
        for forward in (True, False):
            for place in range(road.lanes):
                left = (0.5 + place) * LANE_M * (-1 if forward else 1)
                speed = city_mps * float(rng.uniform(0.85, 1.15))
                is_ego = number == 0 and forward and place == ego_place
                lane = Lane(road, left, forward, speed, red, ego_m if is_ego else None)
                lanes.insert(0 if is_ego else len(lanes), lane)
    return lanes


def cyclists(road: Road, rng: np.random.Generator, rate: float) -> list[Actor]:
    """Cyclists at the right edge of the outermost lanes."""
    actors = []
    for _ in range(rng.poisson(rate)):
        forward = bool(rng.random() < 0.5)
        left = (road.kerb_m - 0.45) * (-1 if forward else 1)
        if road.parking_m:
            left = (road.lanes_half_m - 0.25) * (-1 if forward else 1)
        start = float(rng.uniform(0, road.path.length_m))
        motion = Motion(float(rng.uniform(2.5, 6.0)))
        track = Track(road.path, start, left, forward, motion)
        actors.append(make_actor("vehicle.bicycle", track, "cycle.with_rider", rng))
    return actors


def walkers(road: Road, rng: np.random.Generator, rate: float) -> list[Actor]:
    """Groups of people on the pavements, who walk or stand."""
    actors = []
    for _ in range(rng.poisson(rate)):
        start = float(rng.uniform(0, road.path.length_m))
        if not road.is_open(start, 2.0):
            continue
        side = -1 if rng.random() < 0.5 else 1
        speed = 0.0 if rng.random() < 0.3 else float(rng.uniform(0.5, 1.9))
        forward = bool(rng.random() < 0.5)
        middle = road.kerb_m + PAVEMENT_M * float(rng.uniform(0.35, 0.65))
        for member in range(int(rng.choice([1, 2, 3], p=[0.62, 0.28, 0.1]))):
            category = "human.pedestrian.child" if member and rng.random() < 0.2 else WALKER
            if rng.random() < 0.01:
                category = "human.pedestrian.police_officer"
            left = side * (middle + (member - 0.5) * 0.75)
            at = start + float(rng.normal(scale=0.35))
            turned = float(rng.uniform(-np.pi, np.pi)) if speed == 0.0 else 0.0
            track = Track(road.path, at, left, forward, Motion(speed), turned)
            actors.append(make_actor(category, track, "walking", rng))
    return actors
