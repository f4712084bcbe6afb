"""The cameras look where their names say, and a point lands on the pixel worked out by hand."""

import numpy as np
import pytest

from kd3d.datasets.synthetic.nuscenes.cameras import CAMERAS, rotation_of
from kd3d.datasets.synthetic.nuscenes.photographs import view_of
from kd3d.datasets.synthetic.nuscenes.tracks import Pose

FRONT = CAMERAS[0]


def test_quarter_turn_about_z_takes_x_to_y():
    half = np.sqrt(0.5)
    turned = rotation_of((half, 0, 0, half)) @ (1, 0, 0)
    assert turned == pytest.approx([0, 1, 0])


def test_intrinsic_by_hand():
    # 0.5 m right and 0.25 m above the axis, 10 m ahead
    column, row, depth_m = FRONT.intrinsic @ (0.5, -0.25, 10.0)
    assert column / depth_m == pytest.approx(816.26702 + 1266.417203 * 0.05)
    assert row / depth_m == pytest.approx(491.507066 - 1266.417203 * 0.025)


@pytest.mark.parametrize(
    ("channel", "direction_deg"),
    [
        ("CAM_FRONT", 0),
        ("CAM_FRONT_LEFT", 55),
        ("CAM_BACK_LEFT", 108),
        ("CAM_BACK", 180),
        ("CAM_BACK_RIGHT", -110),
        ("CAM_FRONT_RIGHT", -56),
    ],
)
def test_cameras_look_where_their_names_say(channel, direction_deg):
    camera = next(camera for camera in CAMERAS if camera.channel == channel)
    x, y, z = camera.rotation[:, 2]  # optical axis in the ego frame
    off_deg = (np.degrees(np.arctan2(y, x)) - direction_deg + 180) % 360 - 180
    assert abs(off_deg) < 2
    assert abs(z) < 0.05
    assert camera.rotation[2, 1] < -0.99  # down in the image is down in the world
    assert np.linalg.norm(camera.ego_from_cam) == pytest.approx(1, abs=2e-6)


def test_a_point_of_the_world_lands_where_two_frames_say():
    pose = Pose(100.0, 50.0, np.pi / 2)  # the car faces +y
    view = view_of(FRONT, pose)
    # 20 m before the lens, at its height: global +y is ahead, and the lens is 1.7 m ahead of the
    # car's origin, 1.6 cm to the left (-x)
    point = np.array([100.0 - 0.015946, 50.0 + 1.700791 + 20.0, 1.510958])
    seen = view.intrinsic @ ((point - view.origin_m) @ view.rotation)
    # the axis points 0.33 degrees to the left and up as the mount's quaternion turns it
    ahead = FRONT.rotation.T @ (20.0, 0.0, 0.0)
    expected = np.array(FRONT.centre_px) + 1266.417203 * ahead[:2] / ahead[2]
    assert seen[:2] / seen[2] == pytest.approx(expected)


def test_a_coarse_pixel_lies_in_the_middle_of_its_fine_pixels():
    pose = Pose(0.0, 0.0, 0.0)
    fine, coarse = view_of(FRONT, pose), view_of(FRONT, pose, scale=4)
    assert coarse.size_px == (400, 225)
    ray = np.linalg.inv(coarse.intrinsic) @ (10, 20, 1)
    column, row, _ = fine.intrinsic @ ray
    assert (column, row) == pytest.approx((10 * 4 + 1.5, 20 * 4 + 1.5))
