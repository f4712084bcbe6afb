"""The devkit shows a world with cameras unmodified, and LiDAR and images agree."""

import json

import cv2
import matplotlib
import numpy as np
import pytest
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import BoxVisibility, points_in_box, view_points
from pyquaternion import Quaternion

from kd3d.datasets.synthetic.nuscenes.cameras import CAMERAS
from kd3d.datasets.synthetic.nuscenes.dataset import World, make_world


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cameras") / "world"
    make_world(folder, World(1, 0, 0, keyframes=1, seed=2, cameras=True))
    return folder


@pytest.fixture(scope="module")
def database(root):
    return NuScenes("v1.0-trainval", str(root), verbose=False)


@pytest.fixture(autouse=True)
def _without_display(monkeypatch):
    matplotlib.use("Agg")
    yield
    matplotlib.pyplot.close("all")


def camera_points(database, sample, channel):
    """LiDAR points (N, 3) in a camera's frame, by the tables."""
    lidar = database.get("sample_data", sample["data"]["LIDAR_TOP"])
    camera = database.get("sample_data", sample["data"][channel])
    points = LidarPointCloud.from_file(database.get_sample_data_path(lidar["token"]))
    for data, back in ((lidar, False), (camera, True)):
        mount = database.get("calibrated_sensor", data["calibrated_sensor_token"])
        pose = database.get("ego_pose", data["ego_pose_token"])
        steps = [mount, pose]
        for step in reversed(steps) if back else steps:
            rotation = Quaternion(step["rotation"]).rotation_matrix
            if back:
                points.translate(-np.array(step["translation"]))
                points.rotate(rotation.T)
            else:
                points.rotate(rotation)
                points.translate(np.array(step["translation"]))
    return points.points[:3]


def test_images_and_tables(database):
    sample = database.sample[0]
    assert set(sample["data"]) == {"LIDAR_TOP", *(camera.channel for camera in CAMERAS)}
    for camera in CAMERAS:
        path, _, intrinsic = database.get_sample_data(sample["data"][camera.channel])
        assert cv2.imread(path).shape == (900, 1600, 3)
        assert intrinsic == pytest.approx(camera.intrinsic)
    levels = {row["visibility_token"] for row in database.sample_annotation}
    assert levels == {"1", "2", "3", "4"}


def test_points_on_objects_lie_in_their_2d_boxes(database, root):
    content = json.loads((root / "coco/instances_train.json").read_text())
    names = {row["id"]: row["name"] for row in content["categories"]}
    images = {row["token"]: row["id"] for row in content["images"]}
    sample, hits = database.sample[0], []
    for camera in CAMERAS:
        token = sample["data"][camera.channel]
        here = [row for row in content["annotations"] if row["image_id"] == images[token]]
        points = camera_points(database, sample, camera.channel)
        _, boxes, intrinsic = database.get_sample_data(token, BoxVisibility.ALL)
        for box in boxes:
            # what is hidden from the cameras may show to the LiDAR, which stands higher
            if database.get("sample_annotation", box.token)["visibility_token"] != "4":
                continue
            name = category_to_detection_name(box.name)
            inside = points[:, points_in_box(box, points)]
            candidates = [row["bbox"] for row in here if names[row["category_id"]] == name]
            if not candidates or inside.shape[1] < 5:
                continue
            left, top, wide, high = np.array(candidates).T[..., None]
            u, v, _ = view_points(inside, intrinsic, normalize=True)
            # 2 px for the noise of the ranges, one between a pixel's centre and its far edge
            across = (u > left - 2) & (u < left + wide + 3)
            along = (v > top - 2) & (v < top + high + 3)
            hits.append((across & along).mean(axis=1).max())
    assert len(hits) >= 4
    assert min(hits) > 0.9


def test_renderers_run(database, tmp_path):
    sample = database.sample[0]
    front, lidar = sample["data"]["CAM_FRONT"], sample["data"]["LIDAR_TOP"]
    # an object that all of the devkit's renderers can show: wholly inside an image
    whole = database.get_sample_data(front, BoxVisibility.ALL)[1][0].token
    database.render_sample_data(front, out_path=str(tmp_path / "front.png"), verbose=False)
    database.render_sample_data(
        lidar, out_path=str(tmp_path / "lidar.png"), underlay_map=True, verbose=False
    )
    database.render_annotation(whole, out_path=str(tmp_path / "annotation.png"))
    database.render_pointcloud_in_image(
        sample["token"], camera_channel="CAM_FRONT", out_path=str(tmp_path / "points.png"),
        verbose=False,
    )  # fmt: skip
    database.render_egoposes_on_map("synthetic-town", out_path=str(tmp_path / "map.png"))
    assert len(list(tmp_path.glob("*.png"))) == 5
