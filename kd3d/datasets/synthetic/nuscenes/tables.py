"""The nuScenes v1.0 schema: rows of its 13 tables, and what is the same in every set."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from kd3d.datasets.synthetic.nuscenes.cameras import CAMERAS
from kd3d.datasets.synthetic.nuscenes.catalogue import ATTRIBUTES, CATEGORIES
from kd3d.datasets.synthetic.nuscenes.lidar import MOUNT_M, MOUNT_YAW

VERSION = "v1.0-trainval"
LIDAR = "LIDAR_TOP"
VISIBILITY = ("v0-40", "v40-60", "v60-80", "v80-100")
TABLES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
    "visibility",
)
Row = dict[str, Any]  # Any: the fields of a table differ in type
Tables = dict[str, list[Row]]
Token = Callable[[str], str]


def token_maker(seed: int) -> Token:
    """A function from a name to a token of 32 hexadecimal digits, the same for the same seed."""

    def token(name: str) -> str:
        return hashlib.md5(
            f"kd3d synthetic {seed} {name}".encode(), usedforsecurity=False
        ).hexdigest()

    return token


def quaternion(yaw: float) -> list[float]:
    """(w, x, y, z) of a turn about z."""
    return [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))]


def common_rows(token: Token, cameras: bool) -> Tables:
    """The tables that do not depend on any scene."""
    measure = "the pixels in all images" if cameras else "the LiDAR's rays"
    modalities = {LIDAR: "lidar"}
    if cameras:
        modalities |= {camera.channel: "camera" for camera in CAMERAS}
    return {
        "category": [
            {"token": token(name), "name": name, "description": "as in nuScenes"}
            for name in CATEGORIES
        ],
        "attribute": [
            {"token": token(name), "name": name, "description": "as in nuScenes"}
            for name in ATTRIBUTES
        ],
        "visibility": [
            {
                "token": str(place),
                "level": level,
                "description": f"{level[1:]} % of {measure} of the object show",
            }
            for place, level in enumerate(VISIBILITY, start=1)
        ],
        "sensor": [
            {"token": token(channel), "channel": channel, "modality": modality}
            for channel, modality in modalities.items()
        ],
    }


def calibration_rows(token: Token, scene_name: str, cameras: bool) -> list[Row]:
    """The mounted sensors of one scene's vehicle."""
    rows = [
        {
            "token": token(f"{scene_name} {LIDAR}"),
            "sensor_token": token(LIDAR),
            "translation": list(MOUNT_M),
            "rotation": quaternion(MOUNT_YAW),
            "camera_intrinsic": [],
        }
    ]
    for camera in CAMERAS if cameras else ():
        rotation = np.array(camera.ego_from_cam) / np.linalg.norm(camera.ego_from_cam)
        rows.append(
            {
                "token": token(f"{scene_name} {camera.channel}"),
                "sensor_token": token(camera.channel),
                "translation": list(camera.ego_from_cam_m),
                "rotation": rotation.tolist(),
                "camera_intrinsic": camera.intrinsic.tolist(),
            }
        )
    return rows


def linked(rows: list[Row]) -> list[Row]:
    """Fills ``prev`` and ``next`` along a list of rows."""
    for place, row in enumerate(rows):
        row["prev"] = rows[place - 1]["token"] if place else ""
        row["next"] = rows[place + 1]["token"] if place + 1 < len(rows) else ""
    return rows
