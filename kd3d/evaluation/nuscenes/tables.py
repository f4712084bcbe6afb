"""From nuScenes' tables to the ground truth of one split, as the devkit reads it.

Of the thirteen tables ten are read; visibility, log and map say nothing about a score. The two
with millions of rows are streamed, and only the LiDAR's keyframes are kept of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes.boxes import Boxes, Floats, GroundTruth
from kd3d.evaluation.nuscenes.filters import rack_edges
from kd3d.evaluation.nuscenes.protocol import (
    ATTRIBUTES,
    CLASS_OF_CATEGORY,
    CLASSES,
    NO_ATTRIBUTE,
    RACK_CATEGORY,
)
from kd3d.evaluation.nuscenes.table_rows import Row, table_rows

# Of each table the fields that are read.
TABLES = {
    "attribute": ("token", "name"),
    "calibrated_sensor": ("token", "sensor_token"),
    "category": ("token", "name"),
    "ego_pose": ("token", "translation"),
    "instance": ("token", "category_token"),
    "sample": ("token", "timestamp", "scene_token"),
    "sample_annotation": (
        *("token", "sample_token", "instance_token", "attribute_tokens"),
        *("translation", "size", "rotation", "prev", "next", "num_lidar_pts", "num_radar_pts"),
    ),
    "sample_data": ("sample_token", "ego_pose_token", "calibrated_sensor_token", "is_key_frame"),
    "scene": ("token", "name"),
    "sensor": ("token", "channel"),
}
_LIDAR = "LIDAR_TOP"
_LONGEST_GAP_S = 1.5  # between the frames that a velocity is taken from; twice that if centred


def ground_truth_from_tables(folder: Path, scenes: Sequence[str]) -> GroundTruth:
    """Reads the ground truth of the scenes of that name.

    Args:
        folder: with all ``TABLES``, such as ``nuscenes/v1.0-trainval``.
        scenes: names; those that the scene table does not have are ignored.

    Raises:
        UserError: if fields are missing, or tables contradict each other.
    """
    try:
        return _read(folder, set(scenes))
    except KeyError as error:
        raise UserError(
            f"{folder}: a table names {error}, which no other table has; download the tables again"
        ) from None


def _rows(folder: Path, table: str) -> Iterator[Row]:
    """Rows of a table that have the fields that are read of it."""
    fields = frozenset(TABLES[table])
    for number, row in enumerate(table_rows(folder, table)):
        if not fields.issubset(row):
            raise UserError(
                f"{folder / table}.json: row {number} (token {row.get('token')!r}) lacks "
                f"{sorted(fields - row.keys())}; download the tables again"
            )
        yield row


def _read(folder: Path, scenes: set[str]) -> GroundTruth:
    wanted = {row["token"] for row in _rows(folder, "scene") if row["name"] in scenes}
    samples = [row for row in _rows(folder, "sample") if row["scene_token"] in wanted]
    frames = {row["token"]: number for number, row in enumerate(samples)}
    if not frames:
        raise UserError(
            f"{folder}: no sample lies in the split's {len(scenes)} scenes, such as "
            f"{sorted(scenes)[:3]}; choose a split that this version has"
        )
    boxes, racks = _annotations(folder, samples, frames)
    rack_m = rack_edges(racks.center_m, racks.size_m, racks.rotation)
    return GroundTruth(
        tokens=tuple(frames),
        ego_m=_ego_positions(folder, frames),
        boxes=boxes,
        rack_frame=racks.frame,
        rack_m=rack_m,
    )


def _ego_positions(folder: Path, frames: dict[str, int]) -> Floats:
    """(F, 3) where the ego vehicle was when the LiDAR took each keyframe."""
    sensors = {row["token"] for row in _rows(folder, "sensor") if row["channel"] == _LIDAR}
    mounted = {
        row["token"] for row in _rows(folder, "calibrated_sensor") if row["sensor_token"] in sensors
    }
    pose_of = {}
    for row in _rows(folder, "sample_data"):
        by_lidar = row["is_key_frame"] and row["calibrated_sensor_token"] in mounted
        if by_lidar and row["sample_token"] in frames:
            pose_of[row["sample_token"]] = row["ego_pose_token"]
    wanted = set(pose_of.values())
    positions = {
        row["token"]: row["translation"]
        for row in _rows(folder, "ego_pose")
        if row["token"] in wanted
    }
    return np.array([positions[pose_of[token]] for token in frames], dtype=np.float64)


@dataclass
class _Columns:
    """Boxes under construction, with what their velocity is computed from."""

    columns: dict[str, list[Any]]  # Any: numbers, or lists of them

    def __init__(self) -> None:
        names = ("frame", "label", "center_m", "size_m", "rotation", "attribute", "points")
        self.columns = {name: [] for name in names}
        self.neighbours: list[tuple[str, str, str]] = []

    def add(self, row: Row, **values: int) -> None:
        self.columns["center_m"].append(row["translation"])
        self.columns["size_m"].append(row["size"])
        self.columns["rotation"].append(row["rotation"])
        for name, value in values.items():
            self.columns[name].append(value)
        self.neighbours.append((row["prev"], row["token"], row["next"]))

    def boxes(self, velocity: Floats) -> Boxes:
        count = len(self.neighbours)
        return Boxes.of({**self.columns, "velocity": velocity, "score": np.full(count, -1.0)})


def _annotations(folder: Path, samples: list[Row], frames: dict[str, int]) -> tuple[Boxes, Boxes]:
    """The boxes of the ten classes, and the bicycle racks (as boxes of label 0)."""
    category_of = {row["token"]: row["name"] for row in _rows(folder, "category")}
    category_of = {
        row["token"]: category_of[row["category_token"]] for row in _rows(folder, "instance")
    }
    attributes = {row["token"]: row["name"] for row in _rows(folder, "attribute")}
    times_s = {row["token"]: 1e-6 * row["timestamp"] for row in samples}
    objects, racks = _Columns(), _Columns()
    where: dict[str, tuple[list[float], float]] = {}  # of every annotation: centre and time
    for row in _rows(folder, "sample_annotation"):
        frame = frames.get(row["sample_token"])
        if frame is None:
            continue
        where[row["token"]] = (row["translation"], times_s[row["sample_token"]])
        category = category_of[row["instance_token"]]
        values = {"frame": frame, "points": row["num_lidar_pts"] + row["num_radar_pts"]}
        if category == RACK_CATEGORY:
            racks.add(row, **values, label=0, attribute=NO_ATTRIBUTE)
        elif category in CLASS_OF_CATEGORY:
            label = CLASSES.index(CLASS_OF_CATEGORY[category])
            objects.add(row, **values, label=label, attribute=_attribute(row, attributes))
    still = np.zeros((len(racks.neighbours), 2))
    return _in_order(objects.boxes(_velocities(objects.neighbours, where))), racks.boxes(still)


def _in_order(boxes: Boxes) -> Boxes:
    """Frame after frame, each in the order of the table."""
    return boxes[np.argsort(boxes.frame, kind="stable")]


def _attribute(row: Row, names: dict[str, str]) -> int:
    tokens = row["attribute_tokens"]
    if len(tokens) > 1:
        raise UserError(
            f"sample_annotation {row['token']}: {len(tokens)} attributes "
            f"{[names[token] for token in tokens]}; expected at most one"
        )
    return ATTRIBUTES.index(names[tokens[0]]) if tokens else NO_ATTRIBUTE


def _velocities(
    neighbours: list[tuple[str, str, str]], where: dict[str, tuple[list[float], float]]
) -> Floats:
    """(N, 2) x y in m/s between each object's previous and next annotation.

    One of them is replaced by the annotation itself where it is missing. NaN if both are, or if
    they lie too far apart in time.
    """
    first = [where[before or itself] for before, itself, _ in neighbours]
    last = [where[after or itself] for _, itself, after in neighbours]
    moved_m = np.array([there for there, _ in last], dtype=np.float64).reshape(-1, 3)
    moved_m = moved_m - np.array([there for there, _ in first], dtype=np.float64).reshape(-1, 3)
    took_s = np.array([time for _, time in last]) - np.array([time for _, time in first])
    ends = np.array([(before != "") + (after != "") for before, _, after in neighbours], dtype=int)
    known = (ends > 0) & ~(took_s > _LONGEST_GAP_S * ends)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known[:, None], moved_m / took_s[:, None], np.nan)[:, :2]
