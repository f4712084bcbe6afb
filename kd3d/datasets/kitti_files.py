"""What a folder in KITTI's object layout says of a frame: labelled boxes and calibration."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.kitti import BACKGROUND, FIELDS
from kd3d.errors import UserError

Matrix = NDArray[np.float64]

# mmdet3d numbers KITTI's types so; -1 is nothing that a detector could be asked for.
LABELS = {
    "Pedestrian": 0,
    "Cyclist": 1,
    "Car": 2,
    "Van": 3,
    "Truck": 4,
    "Person_sitting": 5,
    "Tram": 6,
    "Misc": 7,
    "DontCare": -1,
}
assert set(BACKGROUND) < set(LABELS)


@dataclass(frozen=True)
class KittiBox:
    """A label line.

    Attributes:
        kind: KITTI's type.
        truncated: share outside of the image, 0 to 1; -1 of DontCare.
        occluded: 0 visible to 3 unknown; -1 of DontCare.
        alpha_rad: observation angle.
        box_px: left, top, right, bottom.
        size_m: height, width, length.
        bottom_m: x y z of the centre of its bottom, in the rectified camera frame.
        yaw_rad: about the camera's y axis.
    """

    kind: str
    truncated: float
    occluded: int
    alpha_rad: float
    box_px: tuple[float, ...]
    size_m: tuple[float, ...]
    bottom_m: tuple[float, ...]
    yaw_rad: float

    @property
    def camera_box(self) -> list[float]:
        """As mmdet3d orders a box of a camera: x y z length height width yaw."""
        height, width, length = self.size_m
        return [*self.bottom_m, length, height, width, self.yaw_rad]


@dataclass(frozen=True)
class Calibration:
    """A calibration file; all matrices are (4, 4).

    Attributes:
        projections: of the cameras 0 to 3: pixels from the rectified camera frame.
        rectification: rectified from unrectified camera frame.
        cam_from_lidar: unrectified camera frame from LiDAR frame.
        lidar_from_imu: LiDAR frame from IMU frame.
    """

    projections: tuple[Matrix, ...]
    rectification: Matrix
    cam_from_lidar: Matrix
    lidar_from_imu: Matrix

    @property
    def rect_from_lidar(self) -> Matrix:
        """Rectified camera frame from LiDAR frame."""
        return self.rectification @ self.cam_from_lidar


def read_boxes(path: Path) -> list[KittiBox]:
    """Reads a ``label_2`` file.

    Raises:
        UserError: if a line has too few fields, an unknown type, or no numbers.
    """
    boxes = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) < FIELDS or fields[0] not in LABELS:
            raise UserError(
                f"{path}:{number}: expected {FIELDS} fields of a KITTI label, the first one of "
                f"{sorted(LABELS)}, got {line!r}"
            )
        try:
            values = [float(field) for field in fields[1:FIELDS]]
        except ValueError:
            raise UserError(f"{path}:{number}: expected numbers after the type: {line!r}") from None
        boxes.append(
            KittiBox(
                fields[0],
                values[0],
                int(values[1]),
                values[2],
                tuple(values[3:7]),
                tuple(values[7:10]),
                tuple(values[10:13]),
                values[13],
            )
        )
    return boxes


def read_calibration(path: Path) -> Calibration:
    """Reads a ``calib`` file.

    Raises:
        UserError: if a matrix is missing or has another number of values.
    """
    rows = {}
    for line in _text(path).splitlines():
        name, _, values = line.partition(":")
        if values.strip():
            rows[name.strip()] = np.array([float(value) for value in values.split()])
    wanted = {**{f"P{camera}": 12 for camera in range(4)}, "R0_rect": 9}
    wanted |= {"Tr_velo_to_cam": 12, "Tr_imu_to_velo": 12}
    for name, count in wanted.items():
        if name not in rows or rows[name].size != count:
            got = f"{rows[name].size} numbers" if name in rows else "nothing"
            raise UserError(f"{path}: expected {count} numbers of {name}, got {got}")
    return Calibration(
        tuple(_square(rows[f"P{camera}"]) for camera in range(4)),
        _square(rows["R0_rect"]),
        _square(rows["Tr_velo_to_cam"]),
        _square(rows["Tr_imu_to_velo"]),
    )


def _square(values: Matrix) -> Matrix:
    """(4, 4) from the 9 or 12 numbers of a (3, 3) or (3, 4) matrix."""
    square = np.eye(4)
    square[:3, : values.size // 3] = values.reshape(3, -1)
    return square


def _text(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected KITTI's object layout")
    return path.read_text(encoding="utf-8")
