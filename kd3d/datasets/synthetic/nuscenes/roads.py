"""Roads: a main road with bends, side roads across it, and the raster of what they are made of."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.materials import MATERIAL_INDEX
from kd3d.datasets.synthetic.nuscenes.scene import Ground
from kd3d.datasets.synthetic.nuscenes.tracks import Path, Pose

LANE_M = 3.5
PAVEMENT_M = 3.2
MARGIN_M = 90.0  # of the world beyond the roads
CELL_M = 0.25


@dataclass(frozen=True)
class Road:
    """A road along a path.

    Attributes:
        path: its middle line.
        lanes: in each direction; traffic keeps right.
        parking_m: width of the parking strip on either side, 0 for none.
        crossings: arc lengths where another road's middle line crosses.
        crossing_half_m: half width of those roads, pavements included.
    """

    path: Path
    lanes: int
    parking_m: float
    crossings: tuple[float, ...]
    crossing_half_m: float

    @property
    def lanes_half_m(self) -> float:
        """From the middle line to the edge of the outermost lane."""
        return self.lanes * LANE_M

    @property
    def kerb_m(self) -> float:
        """From the middle line to the kerb."""
        return self.lanes_half_m + self.parking_m

    @property
    def edge_m(self) -> float:
        """From the middle line to the far side of the pavement."""
        return self.kerb_m + PAVEMENT_M

    def is_open(self, s_m: float, reach_m: float) -> bool:
        """Whether no crossing lies within ``reach_m`` of the stretch at ``s_m``."""
        return all(abs(s_m - at) > reach_m + self.crossing_half_m for at in self.crossings)


@dataclass(frozen=True)
class Network:
    """The roads of a scene; the main road is the first."""

    roads: tuple[Road, ...]

    @property
    def main(self) -> Road:
        """The road that the recording vehicle drives on."""
        return self.roads[0]


def draw_network(rng: np.random.Generator, drive_m: float, first_m: float) -> Network:
    """Draws roads.

    Args:
        rng: decides everything.
        drive_m: how far the vehicle may get.
        first_m: length of the main road before the vehicle's start.
    """
    length = first_m + drive_m + 100.0
    pieces: list[tuple[float, float]] = []
    while sum(piece[0] for piece in pieces) < length:
        pieces.append((float(rng.uniform(30, 70)), 0.0))
        if rng.random() < 0.6:
            curvature = float(rng.choice([-1, 1]) / rng.uniform(50, 160))
            pieces.append((float(rng.uniform(20, 50)), curvature))
    lanes = int(rng.choice([1, 2], p=[0.45, 0.55]))
    parking = 2.6 if rng.random() < 0.7 else 0.0
    side_lanes = int(rng.choice([1, 2], p=[0.7, 0.3]))
    side_parking = 2.6 if rng.random() < 0.4 else 0.0
    start = Pose(0.0, 0.0, float(rng.uniform(-np.pi, np.pi)))
    path = Path(start, pieces)
    crossings = [first_m + float(rng.uniform(20, 60))]
    if rng.random() < 0.4:
        crossings.append(crossings[0] + float(rng.uniform(70, 110)))
    main_half = lanes * LANE_M + parking + PAVEMENT_M
    side_half = side_lanes * LANE_M + side_parking + PAVEMENT_M
    path = _shifted(path, start, pieces)
    main = Road(path, lanes, parking, tuple(crossings), side_half)
    sides = [
        Road(_across(path.pose(at), rng), side_lanes, side_parking, (90.0,), main_half)
        for at in crossings
    ]
    return Network((main, *sides))


def _across(at: Pose, rng: np.random.Generator) -> Path:
    """A straight path of 180 m whose middle crosses the pose at about a right angle."""
    yaw = at.yaw + np.pi / 2 + float(rng.uniform(-0.15, 0.15))
    x, y = at.x_m - 90 * np.cos(yaw), at.y_m - 90 * np.sin(yaw)
    return Path(Pose(float(x), float(y), yaw), [(180.0, 0.0)])


def _shifted(path: Path, start: Pose, pieces: list[tuple[float, float]]) -> Path:
    """The path moved so that whatever is built along it has positive coordinates."""
    line = _line(path, 0.0)
    shift = 180.0 - line.min(axis=0)
    return Path(Pose(start.x_m + shift[0], start.y_m + shift[1], start.yaw), pieces)


def _line(path: Path, left_m: float, beyond_m: float = 0.0) -> NDArray[np.float64]:
    """Points (N, 2) every two metres, ``left_m`` beside the path."""
    stations = np.arange(-beyond_m, path.length_m + beyond_m + 2.0, 2.0)
    return np.array([path.pose(float(s), left_m)[:2] for s in stations])


def draw_ground(network: Network, yard: str) -> Ground:
    """The raster of the roads.

    Args:
        network: whose roads to paint.
        yard: material of the land beside them.
    """
    lines = np.concatenate([_line(road.path, 0.0) for road in network.roads])
    columns, rows = np.ceil((lines.max(axis=0) + MARGIN_M) / CELL_M).astype(int)
    raster = np.full((rows, columns), MATERIAL_INDEX[yard], dtype=np.uint8)
    for width, material in (("edge_m", "pavement"), ("kerb_m", "asphalt")):
        for road in network.roads:
            half = float(getattr(road, width))
            _fill(raster, road.path, -half, half, MATERIAL_INDEX[material])
    for road in network.roads:
        _mark(raster, road)
    return Ground(raster.astype(np.int8), 0.0, 0.0, CELL_M)


def _fill(
    raster: NDArray[np.uint8],
    path: Path,
    right_m: float,
    left_m: float,
    material: int,
) -> None:
    edges = [_line(path, right_m, MARGIN_M), _line(path, left_m, MARGIN_M)[::-1]]
    corners = np.concatenate(edges) / CELL_M - 0.5
    cv2.fillPoly(raster, [np.round(corners * 16).astype(np.int32)], [material], shift=4)


def _mark(raster: NDArray[np.uint8], road: Road) -> None:
    """Paints dashes between lanes, lines at the edges and zebra crossings at the crossings."""
    white = MATERIAL_INDEX["marking"]
    places = [i * LANE_M for i in range(-road.lanes, road.lanes + 1)]
    s = 0.0
    while s < road.path.length_m:
        if road.is_open(s, 4.0):
            for place in places:
                _stroke(raster, road.path, (s, s + 3.0), (place, place), white)
        s += 6.0
    for at in road.crossings:
        for side in (-1, 1):
            begin = at + side * (road.crossing_half_m + 1.0)
            for stripe in np.arange(-road.lanes_half_m + 0.5, road.lanes_half_m, 1.0):
                _stroke(raster, road.path, (begin, begin + side * 3.0), (stripe, stripe), white, 2)


def _stroke(
    raster: NDArray[np.uint8],
    path: Path,
    s_m: tuple[float, float],
    left_m: tuple[float, float],
    material: int,
    cells: int = 1,
) -> None:
    ends = [path.pose(s, left)[:2] for s, left in zip(s_m, left_m, strict=True)]
    pixels = np.round(np.array(ends) / CELL_M - 0.5).astype(np.int32)
    start, stop = (tuple(int(v) for v in pixel) for pixel in pixels)
    cv2.line(raster, start, stop, [material], cells)
