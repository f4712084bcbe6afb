"""Points to pillars, as a vehicle does it before the network: NumPy only, Python 3.8.

The result equals mmdet3d's hard voxelisation on a CPU (``VoxelizationByGridShape``), pillar by
pillar and point by point; ``STEPS`` says it in words for a program in another language.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence  # noqa: UP035  (the vehicle runs Python 3.8)

import numpy as np

STEPS = (
    "1. Per point and axis, in float32: index = floor((value - range minimum) / voxel size). A "
    "point is used if every index is at least 0 and below the grid size, which is "
    "round((range maximum - range minimum) / voxel size); so a point on the upper edge is not.",
    "2. Walk through the points in their order. The first point of a cell opens a pillar; pillars "
    "are numbered in that order. Once max_pillars are open, points of other cells are dropped.",
    "3. A pillar takes the first max_num_points of its points, in order; the rest are dropped. "
    "Unused places are 0 and num_points counts the used ones.",
    "4. coordinates are (frame, z, y, x): the index of the frame in the batch, then the cell. "
    "Frames follow one another. Pillars whose frame or cell is negative or outside are ignored by "
    "the network: use -1 to fill up to a fixed number, with num_points 0. There is always at "
    "least one pillar, if need be such a filled one.",
    "5. Where filled is true, a run has exactly max_pillars pillars for each of its frames; what "
    "is missing is filled up so at the end.",
)


@dataclass(frozen=True)
class Voxelization:
    """The grid and its limits.

    Attributes:
        voxel_size_m: x, y, z.
        range_m: x y z minimum, then x y z maximum, in the LiDAR frame.
        max_num_points: points a pillar.
        max_pillars: pillars a frame.
        filled: a run always has as many pillars as its frames may have; what they lack is filled
            with pillars that the network ignores.
    """

    voxel_size_m: tuple[float, ...]
    range_m: tuple[float, ...]
    max_num_points: int
    max_pillars: int
    filled: bool = False

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Voxelization:  # Any: JSON
        """Of the entry in export.json."""
        return cls(
            voxel_size_m=tuple(float(size) for size in content["voxel_size_m"]),
            range_m=tuple(float(value) for value in content["range_m"]),
            max_num_points=int(content["max_num_points"]),
            max_pillars=int(content["max_pillars"]),
            filled=bool(content.get("filled", False)),
        )

    @property
    def grid(self) -> tuple[int, ...]:
        """Cells along x, y, z."""
        low, high, size = _float32(self.range_m[:3], self.range_m[3:], self.voxel_size_m)
        return tuple(int(cells) for cells in np.round((high - low) / size))


def voxelize(points: Any, settings: Voxelization) -> tuple[Any, Any, Any]:
    """Pillars of one frame.

    Args:
        points: (N, C) float32 with C >= 3: x y z in metres, LiDAR frame, then other features.
        settings: the grid and its limits.

    Returns:
        pillars (P, max_num_points, C) float32, num_points (P,) int32, cells (P, 3) int32 z y x.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    inside, cells = _cells(points, settings)
    pillar_of_point, first_points = _number_pillars(cells, settings)
    kept = pillar_of_point >= 0
    rows, owners = inside[kept], pillar_of_point[kept]
    place = _place_in_pillar(owners, len(first_points))
    taken = place < settings.max_num_points
    shape = (len(first_points), settings.max_num_points, points.shape[1])
    pillars = np.zeros(shape, dtype=np.float32)
    pillars[owners[taken], place[taken]] = points[rows[taken]]
    counts = np.minimum(
        np.bincount(owners, minlength=len(first_points)), settings.max_num_points
    ).astype(np.int32)
    return pillars, counts, np.stack(_unravel(cells[first_points], settings), axis=1)


def network_feeds(frames: Sequence[Any], settings: Voxelization) -> dict[str, Any]:
    """Inputs of the exported network for a batch of frames.

    Args:
        frames: of each frame, its points (N, C).
        settings: the grid and its limits.

    Returns:
        pillars (P, M, C) float32, num_points (P,) int32, coordinates (P, 4) int32: frame z y x.
    """
    parts = [voxelize(points, settings) for points in frames]
    pillars, counts, cells = (np.concatenate(column) for column in zip(*parts))  # noqa: B905
    numbers = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part[1]) for part in parts])
    feeds = {
        "pillars": pillars,
        "num_points": counts,
        "coordinates": np.concatenate([numbers[:, None], cells], axis=1),
    }
    # the file takes no empty input
    size = len(parts) * settings.max_pillars if settings.filled else max(1, len(counts))
    ignored = {"pillars": 0, "num_points": 0, "coordinates": -1}
    return {name: _extended(feeds[name], size, value) for name, value in ignored.items()}


def _extended(rows: Any, size: int, value: int) -> Any:
    """Rows and, up to ``size`` of them, more that hold ``value`` alone."""
    if len(rows) == size:
        return rows
    missing = np.full((size - len(rows), *rows.shape[1:]), value, rows.dtype)
    return np.concatenate([rows, missing])


def _cells(points: Any, settings: Voxelization) -> tuple[Any, Any]:
    """Rows of the points inside, and the cell of each as one number (z is the slowest)."""
    low, size = _float32(settings.range_m[:3], settings.voxel_size_m)
    with np.errstate(invalid="ignore"):
        index = np.floor((points[:, :3] - low) / size)
        inside = np.flatnonzero(
            ((index >= 0) & (index < np.array(settings.grid, dtype=np.float32))).all(axis=1)
        )
    x, y, z = index[inside].astype(np.int64).T
    columns, rows, _ = settings.grid
    return inside, (z * rows + y) * columns + x


def _number_pillars(cells: Any, settings: Voxelization) -> tuple[Any, Any]:
    """Of each point its pillar (-1: none is left for it), and the first point of each pillar."""
    order = np.arange(len(cells))
    first = np.empty(int(np.prod(settings.grid)), dtype=np.int64)
    first[cells[::-1]] = order[::-1]  # of equal cells the last assignment stays: the first point
    opens = first[cells] == order
    number = np.cumsum(opens) - 1
    pillar = number[first[cells]]
    pillar[pillar >= settings.max_pillars] = -1
    return pillar, order[opens][: settings.max_pillars]


def _place_in_pillar(owners: Any, pillars: int) -> Any:
    """How many earlier points the pillar of each point has."""
    # uint16 makes NumPy's stable sort a radix sort, many times faster
    keys = owners.astype(np.uint16) if pillars <= 65536 else owners
    order = np.argsort(keys, kind="stable")
    counts = np.bincount(owners, minlength=pillars)
    starts = np.cumsum(counts) - counts
    place = np.empty(len(owners), dtype=np.int64)
    place[order] = np.arange(len(owners)) - starts[owners[order]]
    return place


def _unravel(cells: Any, settings: Voxelization) -> tuple[Any, Any, Any]:
    columns, rows, _ = settings.grid
    z, rest = np.divmod(cells, rows * columns)
    y, x = np.divmod(rest, columns)
    return z.astype(np.int32), y.astype(np.int32), x.astype(np.int32)


def _float32(*values: Sequence[float]) -> tuple[Any, ...]:
    return tuple(np.asarray(value, dtype=np.float32) for value in values)
