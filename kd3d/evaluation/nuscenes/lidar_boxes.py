"""From a detector's boxes in the LiDAR frame to nuScenes boxes in the global frame.

Makes the floating-point operations of mmdet3d's ``NuScenesMetric`` in its order, for all boxes of
a frame at a time, so that the same numbers come out as by way of its JSON file.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes.boxes import Boxes, Floats, Ints
from kd3d.evaluation.nuscenes.protocol import ATTRIBUTES, CLASSES, NO_ATTRIBUTE, Protocol
from kd3d.evaluation.nuscenes.rotations import lengths

_MOVING_MPS = 0.2
# Attributes are not predicted: they follow from the class and from whether the box moves.
_MOVING = {
    **dict.fromkeys(("car", "truck", "bus", "trailer", "construction_vehicle"), "vehicle.moving"),
    **dict.fromkeys(("bicycle", "motorcycle"), "cycle.with_rider"),
    "pedestrian": "pedestrian.moving",
}
_STILL = {
    **dict.fromkeys(("car", "truck", "trailer", "construction_vehicle"), "vehicle.parked"),
    **dict.fromkeys(("bicycle", "motorcycle"), "cycle.without_rider"),
    "bus": "vehicle.stopped",
    "pedestrian": "pedestrian.standing",
}

Detections = Mapping[str, NDArray[Any]]  # Any: float32 boxes and scores, int64 labels


@dataclass(frozen=True)
class _Motion:
    """A rotation and a shift, with the matrices that rotate vectors and quaternions."""

    vectors: Floats  # (3, 3)
    quaternions: Floats  # (4, 4)
    shift_m: Floats  # (3,)

    @classmethod
    def of(cls, matrix: object) -> "_Motion":
        from pyquaternion import Quaternion

        transform = np.array(matrix)
        rotation = Quaternion(matrix=transform, rtol=1e-05, atol=1e-07)
        vectors = rotation.rotation_matrix  # this also normalises the quaternion
        w, x, y, z = rotation.elements
        product = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
        return cls(vectors=vectors, quaternions=product, shift_m=transform[:3, 3])


@dataclass(frozen=True)
class LidarFrame:
    """Where the LiDAR of one keyframe was.

    Attributes:
        token: of the sample.
        file_name: of the points, without folders; "" if the info file does not say.
        ego_from_lidar: pose of the LiDAR on the vehicle.
        global_from_ego: pose of the vehicle.
    """

    token: str
    file_name: str
    ego_from_lidar: _Motion
    global_from_ego: _Motion

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> "LidarFrame":  # Any: an entry of mmdet3d's info file
        """From an entry of the ``data_list`` of mmdet3d's info file."""
        return cls(
            token=str(info["token"]),
            file_name=Path(info["lidar_points"].get("lidar_path", "")).name,
            ego_from_lidar=_Motion.of(info["lidar_points"]["lidar2ego"]),
            global_from_ego=_Motion.of(info["ego2global"]),
        )


def global_boxes(
    found: Detections, pose: LidarFrame, frame: int, classes: Sequence[str], protocol: Protocol
) -> Boxes:
    """NuScenes boxes of one frame's detections, without those out of range.

    Args:
        found: boxes (N, 9) ``x y z dx dy dz yaw vx vy`` in the LiDAR frame, bottom-centred;
            scores (N,); labels (N,) indices into ``classes``.
        pose: of the LiDAR.
        frame: index to give the boxes.
        classes: the detector's class names.
        protocol: ranges of the classes.

    Raises:
        UserError: if the boxes have no velocity, or a number is NaN.
    """
    boxes = found["boxes"]
    _check(found, pose.token)
    center_m = boxes[:, :3].copy()
    center_m[:, 2] += boxes[:, 5] * np.float32(0.5)
    velocity = np.pad(boxes[:, 7:9].astype(np.float64), ((0, 0), (0, 1)))
    center_m = _rotated(pose.ego_from_lidar.vectors, center_m) + pose.ego_from_lidar.shift_m
    label = np.array([CLASSES.index(name) for name in classes])[found["labels"]]
    limit_m = np.array([protocol.range_m[name] for name in CLASSES])[label]
    near = lengths(center_m[:, :2]) <= limit_m
    center_m, velocity, label = center_m[near], velocity[near], label[near]
    rotation = _rotated(pose.ego_from_lidar.quaternions, _quaternions(boxes[near, 6]))
    velocity = _rotated(pose.ego_from_lidar.vectors, velocity)
    center_m = _rotated(pose.global_from_ego.vectors, center_m) + pose.global_from_ego.shift_m
    velocity = _rotated(pose.global_from_ego.vectors, velocity)[:, :2]
    return Boxes(
        frame=np.full(len(label), frame, dtype=np.int64),
        label=label,
        center_m=center_m,
        size_m=boxes[near][:, [4, 3, 5]].astype(np.float64),
        rotation=_rotated(pose.global_from_ego.quaternions, rotation),
        velocity=velocity,
        score=found["scores"][near].astype(np.float64),
        attribute=_attributes(label, velocity),
        points=np.full(len(label), -1, dtype=np.int64),
    )


def _check(found: Detections, token: str) -> None:
    boxes = found["boxes"]
    if boxes.shape[1:] != (9,):
        raise UserError(
            f"sample {token}: expected boxes x y z dx dy dz yaw vx vy, got shape {boxes.shape}; "
            "nuScenes scores velocities, so the detector has to predict them (code_size=9)"
        )
    for what, values in (("box", boxes[:, :7]), ("score", found["scores"])):
        if np.isnan(values).any():
            raise UserError(f"sample {token}: a predicted {what} is NaN; did training diverge?")


def _rotated(matrix: Floats, vectors: NDArray[Any]) -> Floats:  # Any: float32 or float64
    """(N, D) vectors times a (D, D) matrix, each by its own call of BLAS as mmdet3d makes it."""
    products: Floats = np.matmul(matrix, vectors.astype(np.float64)[:, :, None])
    return products[:, :, 0]


def _quaternions(yaw_rad: NDArray[np.float32]) -> Floats:
    """(N, 4) w x y z of turns about z; by the C library, whose last bit is not always numpy's."""
    halves = (yaw_rad.astype(np.float64) / 2.0).tolist()
    rotation = np.zeros((len(halves), 4))
    rotation[:, 0] = [math.cos(half) for half in halves]
    rotation[:, 3] = [math.sin(half) for half in halves]
    rotation[:, 1:3] = rotation[:, 3:] * 0.0  # with the sign of zero that the product has
    return rotation


def _attributes(label: Ints, velocity: Floats) -> Ints:
    moving = np.sqrt(velocity[:, 0] ** 2 + velocity[:, 1] ** 2) > _MOVING_MPS
    return np.where(moving, _indices(_MOVING)[label], _indices(_STILL)[label])


def _indices(attribute_of_class: Mapping[str, str]) -> Ints:
    names = [attribute_of_class.get(name) for name in CLASSES]
    return np.array([ATTRIBUTES.index(name) if name else NO_ATTRIBUTE for name in names])
