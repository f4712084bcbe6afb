"""Annotations of a scene: boxes, tracks, attributes, visibility and point counts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.catalogue import attribute_of
from kd3d.datasets.synthetic.nuscenes.lidar import (
    MOUNT_M,
    RANGE_M,
    Sweep,
    lidar_pose,
    points_inside,
)
from kd3d.datasets.synthetic.nuscenes.scene import Scene
from kd3d.datasets.synthetic.nuscenes.tables import Row, linked, quaternion

if TYPE_CHECKING:
    from kd3d.datasets.synthetic.nuscenes.record import Recording

REACH_M = 75.0  # objects farther away are not annotated


@dataclass(frozen=True)
class Frame:
    """One keyframe: its time within the scene and what the LiDAR saw."""

    time_s: float
    sweep: Sweep


@dataclass(frozen=True)
class Boxes:
    """The actors' boxes at one instant, in the global frame.

    Attributes:
        center: (A, 3) metres, rounded to millimetres as the tables are.
        size: (A, 3) length, width, height, rounded likewise.
        yaw: (A,).
        distance_m: (A,) from the vehicle, on the ground.
    """

    center: NDArray[np.float64]
    size: NDArray[np.float64]
    yaw: NDArray[np.float64]
    distance_m: NDArray[np.float64]


def boxes_at(scene: Scene, time_s: float) -> Boxes:
    """All actors' boxes at a time."""
    poses = np.array([actor.track.pose(time_s) for actor in scene.actors]).reshape(-1, 3)
    size = np.round([(a.length_m, a.width_m, a.height_m) for a in scene.actors], 3).reshape(-1, 3)
    center = np.round(np.column_stack([poses[:, :2], size[:, 2] / 2]), 3)
    ego = scene.ego_pose(time_s)
    distance = np.hypot(center[:, 0] - ego.x_m, center[:, 1] - ego.y_m)
    return Boxes(center, size, poses[:, 2], distance)


def count_points(scene: Scene, boxes: Boxes, frame: Frame) -> NDArray[np.int64]:
    """LiDAR points in each box."""
    sensor = lidar_pose(scene.ego_pose(frame.time_s))
    center = boxes.center.copy()
    center[:, :2] = sensor.to_local(center[:, :2])
    center[:, 2] -= MOUNT_M[2]
    near = boxes.distance_m < RANGE_M + 10
    counts = np.zeros(len(center), dtype=np.int64)
    counts[near] = points_inside(
        frame.sweep.points, center[near], boxes.size[near], boxes.yaw[near] - sensor.yaw
    )
    return counts


def annotation_rows(
    scene: Scene, frames: list[Frame], samples: list[str], recording: "Recording"
) -> tuple[list[Row], list[Row]]:
    """Rows of the tables ``sample_annotation`` (by keyframe, then by actor) and ``instance``.

    An actor is annotated from the first to the last keyframe in which the LiDAR meets it within
    ``REACH_M``, also where it is hidden in between.
    """
    boxes = [boxes_at(scene, frame.time_s) for frame in frames]
    counts = np.array([count_points(scene, b, f) for b, f in zip(boxes, frames, strict=True)])
    counts = counts.reshape(len(frames), len(scene.actors))
    met = np.array([frame.sweep.seen > 0 for frame in frames]).reshape(counts.shape) & (counts > 0)
    rows: list[Row] = []
    instances: list[Row] = []
    for place in np.nonzero(met.any(axis=0))[0]:
        keyframes = np.nonzero(met[:, place])[0]
        track = [
            _row(scene, int(place), int(k), boxes[k], frames[k], int(counts[k, place]), recording)
            for k in range(keyframes[0], keyframes[-1] + 1)
        ]
        rows += linked(track)
        category = scene.actors[place].category
        instances.append(
            {
                "token": track[0]["instance_token"],
                "category_token": recording.token(category),
                "nbr_annotations": len(track),
                "first_annotation_token": track[0]["token"],
                "last_annotation_token": track[-1]["token"],
            }
        )
    order = {sample: place for place, sample in enumerate(samples)}
    return sorted(rows, key=lambda row: order[row["sample_token"]]), instances


def _row(
    scene: Scene,
    place: int,
    keyframe: int,
    boxes: Boxes,
    frame: Frame,
    points: int,
    recording: "Recording",
) -> Row:
    actor = scene.actors[place]
    instance = f"{recording.name} instance {place}"
    attribute = attribute_of(actor.posture, actor.track.speed_at(frame.time_s))
    length, width, height = boxes.size[place].tolist()
    possible = max(int(frame.sweep.possible[place]), 1)
    return {
        "token": recording.token(f"{instance} keyframe {keyframe}"),
        "sample_token": recording.sample(keyframe),
        "instance_token": recording.token(instance),
        "visibility_token": _visibility(int(frame.sweep.seen[place]) / possible),
        "attribute_tokens": [recording.token(attribute)] if attribute else [],
        "translation": boxes.center[place].tolist(),
        "size": [width, length, height],
        "rotation": quaternion(float(boxes.yaw[place])),
        "num_lidar_pts": points,
        "num_radar_pts": 0,
    }


def _visibility(share: float) -> str:
    """Token of the level of a visible share."""
    return str(1 + sum(share >= bound for bound in (0.4, 0.6, 0.8)))
