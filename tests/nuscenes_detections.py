"""Detections of an imagined mmdet3d detector on the data sets of ``nuscenes_tables``."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData
from nuscenes_tables import CLASS_OF_CATEGORY, DataSet
from pyquaternion import Quaternion

# In mmdet3d's order, which is not the devkit's.
CLASSES = ("car", "truck", "trailer", "bus", "construction_vehicle", "bicycle", "motorcycle")
CLASSES += ("pedestrian", "traffic_cone", "barrier")
META = {"classes": CLASSES, "version": "v1.0-mini"}


def infos_of(data: DataSet, tokens: list[str]) -> list[dict[str, Any]]:
    """What mmdet3d's info file says of each sample's poses."""
    poses = {row["token"]: row for row in data.tables["ego_pose"]}
    lidar = next(r for r in data.tables["calibrated_sensor"] if r["sensor_token"] == "s-lidar")
    return [
        {
            "token": token,
            "sample_idx": number,
            "ego2global": _matrix(poses[f"pose-{token}-lidar-True"]).tolist(),
            "lidar_points": {"lidar2ego": _matrix(lidar).tolist()},
        }
        for number, token in enumerate(tokens)
    ]


def write_infos(path: Path, infos: list[dict[str, Any]]) -> Path:
    path.write_bytes(pickle.dumps({"metainfo": {}, "data_list": infos}))
    return path


def detections(data: DataSet, infos: list[dict[str, Any]], seed: int) -> list[Any]:
    """A ``Det3DDataSample`` for each info: boxes near the annotations, some far off."""
    random = np.random.default_rng(seed)
    return [_sample(data, info, random) for info in infos]


def _sample(data: DataSet, info: dict[str, Any], random: np.random.Generator) -> Any:
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

    lidar_from_global = np.linalg.inv(
        np.array(info["ego2global"]) @ np.array(info["lidar_points"]["lidar2ego"])
    )
    boxes, labels = [], []
    for category, row in data.annotations(info["token"]):
        if category not in CLASS_OF_CATEGORY:
            continue
        center_m = (lidar_from_global @ [*row["translation"], 1])[:3]
        width, length, height = row["size"]
        turned = lidar_from_global[:3, :3] @ Quaternion(row["rotation"]).rotation_matrix
        yaw = np.arctan2(turned[1, 0], turned[0, 0])
        center_m += random.normal(size=3) * 0.3 - [0, 0, height / 2]
        velocity = random.normal(size=2) * random.choice([0, 0.1, 1.0])
        boxes.append([*center_m, length, width, height, yaw, *velocity])
        labels.append(CLASSES.index(CLASS_OF_CATEGORY[category]))
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 9)
    scores = torch.tensor(random.integers(0, 8, len(labels)) / 7, dtype=torch.float32)
    sample = Det3DDataSample(metainfo={"sample_idx": info["sample_idx"]})
    sample.pred_instances = InstanceData()
    sample.pred_instances_3d = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(tensor, box_dim=9),
        scores_3d=scores,
        labels_3d=torch.tensor(labels, dtype=torch.long),
    )
    return sample


_MOUNTS_RAD = {"CAM_FRONT": 0.0, "CAM_FRONT_RIGHT": -1.0, "CAM_FRONT_LEFT": 1.0}
_MOUNTS_RAD.update(CAM_BACK=np.pi, CAM_BACK_LEFT=2.0, CAM_BACK_RIGHT=-2.0)


def add_cameras(infos: list[dict[str, Any]]) -> None:
    """Six cameras at the middle of the vehicle: z ahead, x to the right, y down."""
    ahead = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    for info in infos:
        info["images"] = {}
        for camera, turn in _MOUNTS_RAD.items():
            cam2ego = Quaternion(axis=[0, 0, 1], radians=turn).transformation_matrix
            cam2ego[:3, :3] = cam2ego[:3, :3] @ ahead
            cam2ego[2, 3] = 1.5
            info["images"][camera] = {"cam2ego": cam2ego.tolist()}


def camera_detections(data: DataSet, infos: list[dict[str, Any]], seed: int) -> list[Any]:
    """A ``Det3DDataSample`` for each image: boxes near the annotations within 50 degrees."""
    random = np.random.default_rng(seed)
    return [
        _camera_sample(data, info, 6 * info["sample_idx"] + place, camera["cam2ego"], random)
        for info in infos
        for place, camera in enumerate(info["images"].values())
    ]


def _camera_sample(
    data: DataSet, info: dict[str, Any], number: int, cam2ego: Any, random: np.random.Generator
) -> Any:
    from mmdet3d.structures import CameraInstance3DBoxes, Det3DDataSample

    camera_from_global = np.linalg.inv(np.array(info["ego2global"]) @ np.array(cam2ego))
    boxes, labels = [], []
    for category, row in data.annotations(info["token"]):
        center_m = (camera_from_global @ [*row["translation"], 1])[:3]
        seen = center_m[2] > 0 and abs(np.arctan2(center_m[0], center_m[2])) < np.radians(50)
        if category not in CLASS_OF_CATEGORY or not seen:
            continue
        width, length, height = row["size"]
        turned = camera_from_global[:3, :3] @ Quaternion(row["rotation"]).rotation_matrix
        yaw = -np.arctan2(turned[2, 0], turned[0, 0])
        center_m[1] += height / 2
        boxes.append([*center_m, length, height, width, yaw, *random.normal(size=2)])
        labels.append(CLASSES.index(CLASS_OF_CATEGORY[category]))
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 9)
    sample = Det3DDataSample(metainfo={"sample_idx": number})
    sample.pred_instances = InstanceData()
    sample.pred_instances_3d = InstanceData(
        bboxes_3d=CameraInstance3DBoxes(tensor, box_dim=9),
        scores_3d=torch.tensor(random.random(len(labels)), dtype=torch.float32),
        labels_3d=torch.tensor(labels, dtype=torch.long),
        attr_labels=torch.tensor(random.integers(0, 9, len(labels))),
    )
    return sample


def _matrix(row: dict[str, Any]) -> np.ndarray:
    matrix = Quaternion(row["rotation"]).transformation_matrix
    matrix[:3, 3] = row["translation"]
    return matrix
