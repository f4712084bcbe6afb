"""The land beside the roads, plot by plot: buildings, car parks, building sites, parks, yards."""

from dataclasses import dataclass

import numpy as np

from kd3d.datasets.synthetic.nuscenes.catalogue import SIZES
from kd3d.datasets.synthetic.nuscenes.clutter import (
    building,
    bush,
    fence,
    hedge,
    kiosk,
    litter_bin,
    skip,
    statue,
    tree,
)
from kd3d.datasets.synthetic.nuscenes.roads import Network, Road
from kd3d.datasets.synthetic.nuscenes.scene import Actor
from kd3d.datasets.synthetic.nuscenes.solids import Row
from kd3d.datasets.synthetic.nuscenes.tracks import Path, Pose, Track, standing_at
from kd3d.datasets.synthetic.nuscenes.traffic import make_actor

DEPTH_M = 18.0


@dataclass
class Plot:
    """A piece of land and what stands on it.

    Attributes:
        front: middle of its front edge, heading along the road; the plot lies to the left.
        length_m: along the road.
        actors: annotated objects, filled by the builders.
        rows: other solids.
    """

    front: Pose
    length_m: float
    actors: list[Actor]
    rows: list[Row]

    def at(self, along_m: float, deep_m: float, turned: float = 0.0) -> Pose:
        """A pose ``along_m`` from the middle and ``deep_m`` from the front edge."""
        x, y = self.front.to_global(np.array([[along_m, deep_m]]))[0]
        return Pose(float(x), float(y), self.front.yaw + turned)

    def place(self, category: str, at: Pose, posture: str, rng: np.random.Generator) -> None:
        """Adds an object that never moves."""
        self.actors.append(make_actor(category, standing_at(at), posture, rng))


def fill_plots(network: Network, rng: np.random.Generator) -> tuple[list[Actor], list[Row]]:
    """Everything beside all roads."""
    actors: list[Actor] = []
    rows: list[Row] = []
    taken: list[tuple[int, Pose]] = []
    for number, road in enumerate(network.roads):
        for side in (-1, 1):
            s = float(rng.uniform(2, 10))
            while s < road.path.length_m:
                length = float(rng.uniform(16, 32))
                middle = s + length / 2
                s += length + float(rng.uniform(0.5, 5))
                pose = road.path.pose(middle, side * (road.edge_m + 0.8), forward=side > 0)
                plot = Plot(pose, length, [], [])
                corner_m = DEPTH_M + 3 if number else 1.0
                if not road.is_open(middle, length / 2 + corner_m):
                    continue
                heart = plot.at(0.0, DEPTH_M / 2)
                if not _is_free(heart, number, network, taken):
                    continue
                taken.append((number, heart))
                build = BUILDERS[rng.choice(len(BUILDERS), p=SHARES)]
                build(plot, rng)
                actors += plot.actors
                rows += plot.rows
    return actors, rows


def _is_free(heart: Pose, number: int, network: Network, taken: list[tuple[int, Pose]]) -> bool:
    """Whether a plot's middle keeps away from other roads and their plots."""
    for other, pose in taken:
        if other != number and np.hypot(pose.x_m - heart.x_m, pose.y_m - heart.y_m) < 30:
            return False
    for other, road in enumerate(network.roads):
        reach = road.edge_m + (DEPTH_M / 2 - 1.0 if other == number else 16.0)
        for s in np.arange(0.0, road.path.length_m, 4.0):
            at = road.path.pose(float(s))
            if np.hypot(at.x_m - heart.x_m, at.y_m - heart.y_m) < reach:
                return False
    return True


def _block(plot: Plot, rng: np.random.Generator) -> None:
    """A building; people and things before it."""
    setback = float(rng.uniform(0.5, 5.0))
    front = plot.at(0.0, setback, np.pi)  # a building lies to the right of its front's heading
    plot.rows += building(front, plot.length_m - 1.0, DEPTH_M - setback, rng)
    if setback > 2.0 and rng.random() < 0.6:
        for _ in range(int(rng.integers(1, 4))):
            at = plot.at(float(rng.uniform(-0.4, 0.4)) * plot.length_m, setback / 2)
            plot.rows += bush(at, rng)
    if rng.random() < 0.13:
        _bicycles(plot, plot.at(0.0, 0.6), rng)


def _bicycles(plot: Plot, at: Pose, rng: np.random.Generator) -> None:
    """A few bicycles side by side, some in an annotated rack."""
    count = int(rng.integers(1, 5))
    for place in range(count):
        x, y = at.to_global(np.array([[(place - (count - 1) / 2) * 0.8, 0.0]]))[0]
        turned = at.yaw + np.pi / 2 + float(rng.normal(scale=0.1))
        pose = Pose(float(x), float(y), turned)
        plot.place("vehicle.bicycle", pose, "cycle.without_rider", rng)
    if count > 1 and rng.random() < 0.5:
        size = (count * 0.8 + 0.6, 2.1, 1.4)
        track = standing_at(at)
        plot.actors.append(make_actor("static_object.bicycle_rack", track, "", rng, size))


def _car_park(plot: Plot, rng: np.random.Generator) -> None:
    """Two rows of vehicles across, a hedge or wall behind."""
    share = float(rng.uniform(0.35, 0.9))
    for deep, facing in ((3.2, np.pi / 2), (13.0, -np.pi / 2)):
        for along in np.arange(-plot.length_m / 2 + 2.0, plot.length_m / 2 - 1.5, 2.8):
            if rng.random() > share:
                continue
            turned = facing + (np.pi if rng.random() < 0.4 else 0.0)
            turned += float(rng.normal(scale=0.03))
            at = plot.at(float(along), deep + float(rng.normal(scale=0.2)), turned)
            if rng.random() < 0.04:
                plot.place("vehicle.motorcycle", at, "cycle.without_rider", rng)
            else:
                plot.place("vehicle.car", at, "vehicle.parked", rng)
    if rng.random() < 0.6:
        plot.rows += fence(plot.at(0.0, DEPTH_M - 0.5), plot.length_m - 2, rng)
    _people(plot, rng, float(rng.uniform(0, 2.5)), (7.0, 9.5))


def _people(plot: Plot, rng: np.random.Generator, mean: float, deep_m: tuple[float, float]) -> None:
    """People who stand, walk straight ahead or sit."""
    for _ in range(rng.poisson(mean)):
        at = plot.at(
            float(rng.uniform(-0.42, 0.42)) * plot.length_m,
            float(rng.uniform(*deep_m)),
            float(rng.uniform(-np.pi, np.pi)),
        )
        child = rng.random() < 0.1
        category = "human.pedestrian.child" if child else "human.pedestrian.adult"
        plot.place(category, at, "pedestrian.standing", rng)


def _site(plot: Plot, rng: np.random.Generator) -> None:
    """A building site: barriers or cones around, machines, workers, rubble."""
    edge = rng.random() < 0.6
    half = plot.length_m / 2 - 1.5
    step = 2.65 if edge else 1.7
    for along in np.arange(-half, half, step):
        at = plot.at(float(along), 0.8 + float(rng.normal(scale=0.08)), np.pi / 2 if edge else 0.0)
        plot.place(BARRIER if edge else CONE, at, "", rng)
    if edge:
        for deep in np.arange(2.6, 15.0, 2.65):
            plot.place(BARRIER, plot.at(-half - 0.6, float(deep)), "", rng)
            plot.place(BARRIER, plot.at(half + 0.6, float(deep)), "", rng)
    for along in (-0.22, 0.25):
        turned = float(rng.uniform(-np.pi, np.pi))
        at = plot.at(along * plot.length_m, float(rng.uniform(6.5, 11.0)), turned)
        if rng.random() < 0.4:
            plot.place("vehicle.construction", at, "vehicle.parked", rng)
        elif rng.random() < 0.5:
            plot.place("vehicle.truck", at, "vehicle.parked", rng)
        else:
            plot.rows += skip(at, rng)
    for _ in range(rng.poisson(2.0)):
        along = float(rng.uniform(-0.4, 0.4)) * plot.length_m
        at = plot.at(along, float(rng.uniform(2.0, 3.4)), float(rng.uniform(-3, 3)))
        plot.place(WORKER, at, "pedestrian.standing", rng)
    if edge:
        for along in np.arange(-0.3, 0.3, 1.6 / plot.length_m):
            at = plot.at(float(along) * plot.length_m, 4.6 + float(rng.normal(scale=0.2)))
            plot.place(CONE, at, "", rng)
    if rng.random() < 0.3:
        plot.place("movable_object.debris", plot.at(-0.4 * plot.length_m, 4.0), "", rng)


def _park(plot: Plot, rng: np.random.Generator) -> None:
    """Trees, bushes, hedges, statues, people among them."""
    for _ in range(int(rng.integers(5, 13))):
        make = (tree, bush, bush, hedge, statue, litter_bin)[int(rng.integers(6))]
        along = float(rng.uniform(-0.45, 0.45)) * plot.length_m
        plot.rows += make(plot.at(along, float(rng.uniform(4.0, DEPTH_M))), rng)
    _people(plot, rng, 1.2, (0.6, 3.2))
    if rng.random() < 0.3:
        for place in range(int(rng.integers(1, 3))):
            at = plot.at(2.0 + 0.8 * place, 2.0, -np.pi / 2)
            size = (0.85, 0.65, 1.25)
            track = standing_at(at)
            sitting = "pedestrian.sitting_lying_down"
            plot.actors.append(make_actor("human.pedestrian.adult", track, sitting, rng, size))


def _yard(plot: Plot, rng: np.random.Generator) -> None:
    """Trailers, trucks, buses and huts side by side behind a fence."""
    kinds = ("vehicle.trailer", "vehicle.truck", "vehicle.bus.rigid", "")
    for along in np.arange(-plot.length_m / 2 + 3, plot.length_m / 2 - 3, 4.6):
        kind = str(rng.choice(kinds, p=[0.38, 0.28, 0.06, 0.28]))
        at = plot.at(float(along), 9.5, float(rng.choice([-1, 1])) * np.pi / 2)
        if kind:
            plot.place(kind, at, "vehicle.parked", rng)
        elif rng.random() < 0.4:
            plot.rows += kiosk(at, rng)
    if rng.random() < 0.4:
        plot.rows += fence(plot.at(0.0, 0.3), plot.length_m, rng)
    if rng.random() < 0.3:
        plot.place("movable_object.pushable_pullable", plot.at(0.0, 1.5), "", rng)


def _lawn(plot: Plot, rng: np.random.Generator) -> None:
    """Little: a fence, a few bushes, a skip or a hut."""
    if rng.random() < 0.5:
        plot.rows += fence(plot.at(0.0, 0.4), plot.length_m - 1, rng)
    for make in (bush, tree, skip, kiosk):
        if rng.random() < 0.4:
            along = float(rng.uniform(-0.35, 0.35)) * plot.length_m
            plot.rows += make(plot.at(along, float(rng.uniform(4.0, 14.0))), rng)


BARRIER, CONE = "movable_object.barrier", "movable_object.trafficcone"
WORKER = "human.pedestrian.construction_worker"
BUILDERS = (_block, _car_park, _site, _park, _yard, _lawn)
SHARES = (0.34, 0.12, 0.15, 0.2, 0.08, 0.11)


def fill_strips(road: Road, rng: np.random.Generator) -> list[Actor]:
    """The parking strips: parked vehicles, and now and then a stretch where people work."""
    actors: list[Actor] = []
    if not road.parking_m:
        return actors
    for side in (-1, 1):
        works_at = float(rng.uniform(0, road.path.length_m)) if rng.random() < 0.75 else -999.0
        works_half = float(rng.uniform(8, 16))
        share = float(rng.uniform(0.15, 0.65))
        s = float(rng.uniform(0, 6))
        while s < road.path.length_m:
            if abs(s - works_at) > works_half + 9 and rng.random() < share:
                actor = _parked(road, s, side, rng)
                if road.is_open(s, actor.length_m / 2 + 5):
                    actors.append(actor)
                s += max(actor.length_m - 4.6, 0.0)
            s += 6.0 + float(rng.exponential(0.7))
        if works_at >= 0 and road.is_open(works_at, works_half + 8):
            actors += _works(road, works_at, works_half, side, rng)
    return actors


def _parked(road: Road, s_m: float, side: int, rng: np.random.Generator) -> Actor:
    category = "vehicle.truck" if rng.random() < 0.08 else "vehicle.car"
    if rng.random() < 0.01:
        category = "vehicle.bus.rigid"
    size = SIZES[category].draw(rng)
    left = side * (road.kerb_m - 0.25 - size[1] / 2)
    turned = float(rng.normal(scale=0.02))
    track = Track(road.path, s_m + max(size[0] - 4.6, 0) / 2, left, side < 0, turned=turned)
    return make_actor(category, track, "vehicle.parked", rng, size)


def _works(
    road: Road, at_m: float, half_m: float, side: int, rng: np.random.Generator
) -> list[Actor]:
    """Barriers or cones along the lane, a machine or truck, and workers behind them."""
    actors = []
    path: Path = road.path
    edge = side * (road.lanes_half_m + 0.4)
    kind = BARRIER if rng.random() < 0.6 else CONE
    step = 2.65 if kind == BARRIER else 1.9
    for s in np.arange(at_m - half_m, at_m + half_m, step):
        jitter = float(rng.normal(scale=0.06))
        turned = np.pi / 2 if kind == BARRIER else 0.0
        actors.append(
            make_actor(kind, Track(path, float(s), edge + jitter, turned=turned), "", rng)
        )
    for end in (-1, 1):  # a taper of cones before and behind
        for place in range(1, 5):
            s = at_m + end * (half_m + 1.8 * place)
            left = edge + side * 0.5 * (place - 1)
            actors.append(make_actor(CONE, Track(path, s, left), "", rng))
    if rng.random() < 0.6:
        machine = "vehicle.construction" if rng.random() < 0.6 else "vehicle.truck"
        size = SIZES[machine].draw(rng)
        left = edge + side * (0.5 + size[1] / 2)
        track = Track(path, at_m + half_m / 3, left, side < 0)
        actors.append(make_actor(machine, track, "vehicle.parked", rng, size))
    for _ in range(int(rng.integers(1, 4))):
        s = at_m - half_m + float(rng.uniform(0.1, 0.8)) * half_m
        turned = float(rng.uniform(-np.pi, np.pi))
        track = Track(path, s, edge + side * float(rng.uniform(0.9, 2.0)), turned=turned)
        actors.append(make_actor(WORKER, track, "pedestrian.standing", rng))
    return actors
