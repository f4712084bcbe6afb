"""Annotations of a scene: boxes, tracks, attributes, visibility and point counts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.catalogue import attribute_of
from kd3d.datasets.synthetic.nuscenes.lidar import MOUNT_M, Sweep, lidar_pose, points_inside
from kd3d.datasets.synthetic.nuscenes.ray_casting import RANGE_M
from kd3d.datasets.synthetic.nuscenes.scene import Scene
from kd3d.datasets.synthetic.nuscenes.tables import Row, Token, linked, quaternion

REACH_M = 75.0  # objects farther away are not annotated


@dataclass(frozen=True)
class Frame:
    """One keyframe.

    Attributes:
        time_s: within the scene.
        sweep: what the LiDAR saw.
        seen_share: (A,) how much of each actor shows, in [0, 1]; to the cameras if there are any.
    """

    time_s: float
    sweep: Sweep
    seen_share: NDArray[np.float64]


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
    scene: Scene, frames: list[Frame], samples: list[str], name: str, token: Token
) -> tuple[list[Row], list[Row]]:
    """Rows of the tables ``sample_annotation`` (by keyframe, then by actor) and ``instance``.

    An actor is annotated from the first to the last keyframe in which the LiDAR meets it within
    ``REACH_M``, also where it is hidden in between.

    Args:
        scene: whose actors to annotate.
        frames: its keyframes.
        samples: their tokens.
        name: of the scene.
        token: maker of the set's tokens.
    """
    boxes = [boxes_at(scene, frame.time_s) for frame in frames]
    counts = np.array([count_points(scene, b, f) for b, f in zip(boxes, frames, strict=True)])
    seen = np.array([frame.sweep.seen for frame in frames])
    distance = np.array([b.distance_m for b in boxes])
    met = (seen > 0) & (counts > 0) & (distance < REACH_M)
    rows: list[Row] = []
    instances: list[Row] = []
    for place in np.flatnonzero(met.any(axis=0)).tolist():
        keyframes = np.flatnonzero(met[:, place]).tolist()
        track = []
        for k in range(keyframes[0], keyframes[-1] + 1):
            row = _row(scene, place, boxes[k], frames[k], token)
            row["token"] = token(f"{name} instance {place} keyframe {k}")
            row["sample_token"] = samples[k]
            row["instance_token"] = token(f"{name} instance {place}")
            row["num_lidar_pts"] = int(counts[k, place])
            track.append(row)
        rows += linked(track)
        instances.append(
            {
                "token": track[0]["instance_token"],
                "category_token": token(scene.actors[place].category),
                "nbr_annotations": len(track),
                "first_annotation_token": track[0]["token"],
                "last_annotation_token": track[-1]["token"],
            }
        )
    order = {sample: place for place, sample in enumerate(samples)}
    return sorted(rows, key=lambda row: order[row["sample_token"]]), instances


def _row(scene: Scene, place: int, boxes: Boxes, frame: Frame, token: Token) -> Row:
    """What an annotation says of one actor at one time."""
    actor = scene.actors[place]
    attribute = attribute_of(actor.posture, actor.track.speed_at(frame.time_s))
    length, width, height = boxes.size[place].tolist()
    return {
        "visibility_token": token_of(float(frame.seen_share[place])),
        "attribute_tokens": [token(attribute)] if attribute else [],
        "translation": boxes.center[place].tolist(),
        "size": [width, length, height],
        "rotation": quaternion(float(boxes.yaw[place])),
        "num_radar_pts": 0,
    }


def token_of(share: float) -> str:
    """``visibility_token`` of a share in [0, 1]: "1" below 40 %, to "4" from 80 % up."""
    return str(1 + sum(share >= bound for bound in (0.4, 0.6, 0.8)))
