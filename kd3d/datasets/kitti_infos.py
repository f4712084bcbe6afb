"""KITTI object folders as MMDetection3D's info files (format 1.1), for LiDAR detectors."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kd3d.datasets.kitti import image_entry
from kd3d.datasets.kitti_files import (
    LABELS,
    Calibration,
    KittiBox,
    Matrix,
    read_boxes,
    read_calibration,
)
from kd3d.errors import UserError

# Least height in pixels, most occlusion and truncation of easy, moderate and hard objects.
_DIFFICULTIES = ((40.0, 0, 0.15), (25.0, 1, 0.3), (25.0, 2, 0.5))


def kitti_infos(
    root: Path, frames: list[int], *, kinds: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Reads frames of a folder in KITTI's object layout.

    Args:
        root: holds ``image_2``, ``label_2``, ``calib`` and ``velodyne_reduced`` (what camera 2
            sees) or ``velodyne``.
        frames: their numbers, in the order that they get in the info file.
        kinds: types to read as others, such as ``{"Van": "Car"}``.

    Returns:
        The content of an info file of ``KittiDataset`` and ``KittiMetric``; paths are file names.

    Raises:
        UserError: if a file is missing or malformed, or a type is unknown.
    """
    renamed = dict(kinds or {})
    unknown = sorted({*renamed, *renamed.values()} - LABELS.keys())
    if unknown:
        raise UserError(f"kinds {renamed}: unknown {unknown}, expected types of {sorted(LABELS)}")
    return {
        "metainfo": {"categories": dict(LABELS), "dataset": "kitti", "info_version": "1.1"},
        "data_list": [_frame(root, frame, renamed) for frame in frames],
    }


def difficulty(box: KittiBox) -> int:
    """0 easy, 1 moderate, 2 hard, -1 none of them, by KITTI's rules."""
    height_px = box.box_px[3] - box.box_px[1]
    for level, (least_px, most_occluded, most_truncated) in enumerate(_DIFFICULTIES):
        if (
            height_px > least_px
            and box.occluded <= most_occluded
            and box.truncated <= most_truncated
        ):
            return level
    return -1


def points_inside(points_m: Matrix, box: KittiBox, rect_from_lidar: Matrix) -> int:
    """How many points (N, 3) of the LiDAR frame lie in a box, upright in that frame.

    That is the box an mmdet3d detector is trained with; the label's is upright in the camera's.
    """
    bottom_m = np.linalg.solve(rect_from_lidar, np.array([*box.bottom_m, 1.0]))[:3]
    apart = points_m - bottom_m
    yaw_rad = -box.yaw_rad - np.pi / 2
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    height, width, length = box.size_m
    along = apart[:, 0] * cos + apart[:, 1] * sin
    across = apart[:, 1] * cos - apart[:, 0] * sin
    inside = (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)
    return int(np.count_nonzero(inside & (apart[:, 2] >= 0) & (apart[:, 2] <= height)))


def _frame(root: Path, frame: int, renamed: Mapping[str, str]) -> dict[str, Any]:
    calibration = read_calibration(root / "calib" / f"{frame:06d}.txt")
    cloud = _cloud(root, frame)
    points = np.fromfile(cloud, dtype=np.float32).reshape(-1, 4)[:, :3].astype(np.float64)
    boxes = [
        replace(box, kind=renamed.get(box.kind, box.kind))
        for box in read_boxes(root / "label_2" / f"{frame:06d}.txt")
    ]
    objects = [box for box in boxes if box.kind != "DontCare"]
    order = [*objects, *(box for box in boxes if box.kind == "DontCare")]
    return {
        "sample_idx": frame,
        "images": _images(root, frame, calibration),
        "lidar_points": {
            "num_pts_feats": 4,
            "lidar_path": cloud.name,
            "Tr_velo_to_cam": calibration.cam_from_lidar.tolist(),
            "Tr_imu_to_velo": calibration.lidar_from_imu.tolist(),
        },
        "instances": [
            _instance(box, place, len(objects), points, calibration)
            for place, box in enumerate(order)
        ],
    }


def _cloud(root: Path, frame: int) -> Path:
    for folder in ("velodyne_reduced", "velodyne"):
        path = root / folder / f"{frame:06d}.bin"
        if path.is_file():
            return path
    raise UserError(
        f"{root / 'velodyne_reduced' / f'{frame:06d}.bin'}: no such file, nor in velodyne; "
        "expected KITTI's object layout"
    )


def _images(root: Path, frame: int, calibration: Calibration) -> dict[str, Any]:
    images: dict[str, Any] = {
        f"CAM{camera}": {
            "cam2img": projection.tolist(),
            "lidar2img": (projection @ calibration.rect_from_lidar).tolist(),
        }
        for camera, projection in enumerate(calibration.projections)
    }
    image = image_entry(root, frame)
    images["CAM2"] |= {
        "img_path": image["file_name"],
        "height": image["height"],
        "width": image["width"],
        "lidar2cam": calibration.rect_from_lidar.tolist(),
    }
    images["R0_rect"] = calibration.rectification.tolist()
    return images


def _instance(
    box: KittiBox, place: int, objects: int, points_m: Matrix, calibration: Calibration
) -> dict[str, Any]:
    x, y, z = box.bottom_m
    centre = calibration.projections[2] @ np.array([x, y - box.size_m[0] / 2, z, 1.0])
    real = place < objects
    return {
        "bbox": list(box.box_px),
        "bbox_label": LABELS[box.kind],
        "bbox_3d": box.camera_box,
        "bbox_label_3d": LABELS[box.kind],
        "depth": float(centre[2]),
        "center_2d": (centre[:2] / centre[2]).tolist(),
        "num_lidar_pts": points_inside(points_m, box, calibration.rect_from_lidar) if real else -1,
        "difficulty": difficulty(box) if real else -1,
        "truncated": box.truncated,
        "occluded": box.occluded,
        "alpha": box.alpha_rad,
        "score": 0.0,
        "index": place if real else -1,
        "group_id": place,
    }
