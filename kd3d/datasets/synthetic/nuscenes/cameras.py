"""The six cameras of a nuScenes car: lenses and mounts.

The figures are those of one of the data set's cars (Caesar et al., 2020) as public code and
documentation print them, rounded to micrometres and millionths.

Camera frame: x right, y down, z ahead. Ego frame: x ahead, y left, z up, on the ground below the
middle of the rear axle. A pixel's centre lies at (column, row), as nuScenes' projection has it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WIDTH_PX, HEIGHT_PX = 1600, 900


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels, mounted on the car.

    Attributes:
        channel: nuScenes' name of it.
        focal_px: focal length.
        centre_px: column and row of the optical axis.
        ego_from_cam_m: (x, y, z) of the lens in the ego frame.
        ego_from_cam: its unit quaternion (w, x, y, z).
    """

    channel: str
    focal_px: float
    centre_px: tuple[float, float]
    ego_from_cam_m: tuple[float, float, float]
    ego_from_cam: tuple[float, float, float, float]

    @property
    def intrinsic(self) -> Array:
        """(3, 3) camera matrix in pixels of the 1600 x 900 image."""
        column, row = self.centre_px
        return np.array([[self.focal_px, 0, column], [0, self.focal_px, row], [0, 0, 1]])

    @property
    def rotation(self) -> Array:
        """(3, 3), ego from camera."""
        return rotation_of(self.ego_from_cam)


def rotation_of(quaternion: tuple[float, float, float, float]) -> Array:
    """(3, 3) rotation matrix of a quaternion (w, x, y, z) of any length but 0."""
    w, x, y, z = np.asarray(quaternion) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


CAMERAS: tuple[Camera, ...] = (
    Camera(
        "CAM_FRONT",
        1266.417203,
        (816.267020, 491.507066),
        (1.700791, 0.015946, 1.510958),
        (0.499802, -0.503032, 0.499780, -0.497371),
    ),
    Camera(
        "CAM_FRONT_RIGHT",
        1260.847445,
        (807.968245, 495.334427),
        (1.550848, -0.493405, 1.495748),
        (0.206035, -0.202694, 0.682451, -0.671361),
    ),
    Camera(
        "CAM_FRONT_LEFT",
        1272.597947,
        (826.615493, 479.751654),
        (1.523878, 0.494631, 1.509328),
        (0.675727, -0.673627, 0.212140, -0.211228),
    ),
    Camera(
        "CAM_BACK",
        809.220991,
        (829.219600, 481.778424),
        (0.028326, 0.003451, 1.579103),
        (0.503787, -0.497402, -0.494185, 0.504550),
    ),
    Camera(
        "CAM_BACK_LEFT",
        1256.741481,
        (792.112574, 492.775747),
        (1.035691, 0.484795, 1.590970),
        (0.692419, -0.703162, -0.116483, 0.112033),
    ),
    Camera(
        "CAM_BACK_RIGHT",
        1259.513741,
        (807.252905, 501.195799),
        (1.014878, -0.480568, 1.562395),
        (0.122810, -0.132401, -0.700431, 0.690496),
    ),
)
