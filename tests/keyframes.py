"""Two real nuScenes keyframes and a KITTI frame, as mmdet3d's datasets; where they lie here."""

import json
import math
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

KEYFRAMES = ("a", "b")
# NuScenesDataset's own order, which infos follow
CATEGORIES = (
    *("car", "truck", "trailer", "bus", "construction_vehicle", "bicycle", "motorcycle"),
    *("pedestrian", "traffic_cone", "barrier"),
)


def real_data(folder: str) -> Path:
    """A folder of real data; skips the test where there is none."""
    root = os.environ.get("KD3D_REAL_DATA")
    if not root:
        pytest.skip("KD3D_REAL_DATA is not set")
    return Path(root) / folder


def keyframe_dataset(
    name: str, work_dir: Path, pipeline: list[Any], classes: list[str]
) -> dict[str, Any]:
    """The config of a NuScenesDataset with one keyframe."""
    folder = real_data("nuscenes_keyframes") / name
    infos = work_dir / "infos.pkl"
    content = {"metainfo": {"version": "v1.0-mini"}, "data_list": [_info(folder)]}
    infos.write_bytes(pickle.dumps(content))
    return {
        "type": "NuScenesDataset",
        "data_root": "",
        "ann_file": str(infos),
        "data_prefix": {"pts": str(folder), "sweeps": str(folder), "img": ""},
        "pipeline": pipeline,
        "metainfo": {"classes": classes},
        "modality": {"use_lidar": True, "use_camera": False},
        "box_type_3d": "LiDAR",
        "use_valid_flag": True,
    }


def kitti_dataset(work_dir: Path, pipeline: list[Any], classes: list[str]) -> dict[str, Any]:
    """The config of a KittiDataset with frame 000008."""
    folder = real_data("kitti_frame")
    content = json.loads((folder / "000008.json").read_text())
    infos = work_dir / "infos.pkl"
    infos.write_bytes(pickle.dumps(content))
    return {
        "type": "KittiDataset",
        "data_root": "",
        "ann_file": str(infos),
        "data_prefix": {"pts": str(folder)},
        "pipeline": pipeline,
        "metainfo": {"classes": classes},
        "modality": {"use_lidar": True, "use_camera": False},
        "box_type_3d": "LiDAR",
    }


def _info(folder: Path) -> dict[str, Any]:
    found = list(folder.glob("*.json"))
    if found:
        (info,) = json.loads(found[0].read_text())["data_list"]
        return {**info, "images": {}}
    return _info_of_yaml(folder)


def _info_of_yaml(folder: Path) -> dict[str, Any]:
    """From what mmdet3d wrote before version 1: width before length, yaw from another axis."""
    (path,) = folder.glob("*.yaml")
    old = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    instances = []
    for index, (x, y, z, width, length, height, yaw) in enumerate(old["gt_boxes"]):
        label = CATEGORIES.index(old["gt_names"][index])
        instances.append(
            {
                "bbox_label": label,
                "bbox_label_3d": label,
                "bbox_3d": [x, y, z, length, width, height, -yaw - math.pi / 2],
                "bbox_3d_isvalid": old["valid_flag"][index],
                "num_lidar_pts": old["num_lidar_pts"][index],
                "num_radar_pts": old["num_radar_pts"][index],
                "velocity": old["gt_velocity"][index],
            }
        )
    return {
        "sample_idx": 0,
        "token": old["token"],
        "timestamp": old["timestamp"] / 1e6,
        "ego2global": np.eye(4).tolist(),
        "images": {},
        "lidar_points": {"lidar_path": "0.bin", "num_pts_feats": 5},
        "instances": instances,
    }
