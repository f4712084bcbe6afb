"""A folder in KITTI's object layout with one frame, small enough to work it out by hand."""

from pathlib import Path

import numpy as np
from PIL import Image

# The LiDAR sits in the camera: forward is z, left is -x, up is -y; 100 px focal length.
CALIBRATION = """\
P0: 100 0 50 0 0 100 25 0 0 0 1 0
P1: 100 0 50 0 0 100 25 0 0 0 1 0
P2: 100 0 50 0 0 100 25 0 0 0 1 0
P3: 100 0 50 0 0 100 25 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
Tr_imu_to_velo: 1 0 0 0 0 1 0 0 0 0 1 0
"""
# type, truncated, occluded, alpha, box in px, height width length, bottom's x y z, yaw
LABELS = """\
DontCare -1 -1 -10 70 5 80 15 -1 -1 -1 -1000 -1000 -1000 -10
Car 0 0 0.1 10 5 50 46 1.5 1.6 4 0 1.6 20 0
Van 0.2 1 0.2 60 5 80 31 2 1.8 5 -6 1.6 15 1.5
"""
# x y z in metres of the LiDAR; the car reaches 0.8 m before and behind (20, 0), 2 m to its sides,
# from -1.6 m up to -0.1 m
POINTS = [
    *[(20.7, 0, -1), (20, 1.9, -1.5), (20, -1.9, -0.2)],
    *[(20.9, 0, -1), (20, 2.1, -1), (20, 0, -1.7), (20, 0, 0)],
]


def kitti_folder(root: Path, frames: int = 1, *, zoom: int = 1) -> Path:
    """Writes the frames 0, 1, ...; all the same. ``zoom`` multiplies the focal length."""
    for folder in ("image_2", "label_2", "calib", "velodyne_reduced"):
        (root / folder).mkdir(parents=True)
    cloud = np.array([(*point, 0.5) for point in POINTS])
    calibration = CALIBRATION.replace("100 ", f"{100 * zoom} ")
    for frame in range(frames):
        Image.new("RGB", (100 * zoom, 50 * zoom)).save(root / "image_2" / f"{frame:06d}.png")
        (root / "label_2" / f"{frame:06d}.txt").write_text(LABELS)
        (root / "calib" / f"{frame:06d}.txt").write_text(calibration)
        cloud.astype(np.float32).tofile(root / "velodyne_reduced" / f"{frame:06d}.bin")
    return root
