"""KITTI's label and calibration files, on lines written here."""

import numpy as np
import pytest
from kitti_toys import CALIBRATION, kitti_folder

from kd3d.datasets.kitti_files import read_boxes, read_calibration
from kd3d.errors import UserError


def test_a_label_line(tmp_path):
    _, car, _ = read_boxes(kitti_folder(tmp_path) / "label_2" / "000000.txt")
    assert (car.kind, car.truncated, car.occluded, car.alpha_rad) == ("Car", 0.0, 0, 0.1)
    assert car.box_px == (10, 5, 50, 46)
    assert car.camera_box == [0, 1.6, 20, 4, 1.5, 1.6, 0]  # x y z length height width yaw


def test_the_cameras_axes(tmp_path):
    calibration = read_calibration(kitti_folder(tmp_path) / "calib" / "000000.txt")
    forward_left_up = np.array([20.0, 2.0, 1.0, 1.0])
    assert (calibration.rect_from_lidar @ forward_left_up).tolist() == [-2, -1, 20, 1]
    assert calibration.projections[2][0].tolist() == [100, 0, 50, 0]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("Car 0 0 0.1 10 5 50 46 1.5 1.6 4 0 1.6 20", "15 fields"),
        ("Bus 0 0 0.1 10 5 50 46 1.5 1.6 4 0 1.6 20 0", "15 fields.*'Car'"),
        ("Car 0 0 0.1 10 5 50 46 1.5 1.6 4 0 1.6 far 0", "numbers after the type"),
    ],
)
def test_a_malformed_label_is_named_with_its_line(tmp_path, line, complaint):
    path = tmp_path / "000000.txt"
    path.write_text(f"\n{line}\n")
    with pytest.raises(UserError, match=rf"000000.txt:2: .*{complaint}"):
        read_boxes(path)


def test_a_malformed_calibration_is_refused(tmp_path):
    path = tmp_path / "000000.txt"
    path.write_text(CALIBRATION.replace("R0_rect: 1 ", "R0_rect: "))
    with pytest.raises(UserError, match="9 numbers of R0_rect, got 8 numbers"):
        read_calibration(path)
    path.write_text(CALIBRATION.replace("P3", "P4"))
    with pytest.raises(UserError, match="12 numbers of P3, got nothing"):
        read_calibration(path)
    with pytest.raises(UserError, match="no such file"):
        read_calibration(tmp_path / "absent.txt")
