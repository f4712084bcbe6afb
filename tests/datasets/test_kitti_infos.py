"""MMDetection3D's infos of a KITTI folder, worked out by hand and read back by mmdet3d."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from kitti_toys import POINTS, kitti_folder
from mmdet3d.datasets import KittiDataset

from kd3d.datasets.kitti_files import KittiBox
from kd3d.datasets.kitti_infos import difficulty, kitti_infos
from kd3d.errors import UserError

CAR = KittiBox("Car", 0.0, 0, 0.1, (10, 5, 50, 46), (1.5, 1.6, 4.0), (0, 1.6, 20), 0.0)


def test_a_frame(tmp_path):
    infos = kitti_infos(kitti_folder(tmp_path), [0])
    assert infos["metainfo"]["info_version"] == "1.1"
    (frame,) = infos["data_list"]
    assert frame["sample_idx"] == 0
    assert frame["lidar_points"]["lidar_path"] == "000000.bin"
    camera = frame["images"]["CAM2"]
    assert (camera["img_path"], camera["height"], camera["width"]) == ("000000.png", 50, 100)
    # 2 m ahead, 1 m left and 0.5 m up: 100 * -1 / 2 + 50 px, 100 * -0.5 / 2 + 25 px
    x, y, z, _ = np.array(camera["lidar2img"]) @ [2, 1, 0.5, 1]
    assert (x / z, y / z) == (0, 0)


def test_objects_come_before_what_is_not_to_be_looked_at(tmp_path):
    (frame,) = kitti_infos(kitti_folder(tmp_path), [0])["data_list"]
    car, van, care_not = frame["instances"]
    assert [each["bbox_label_3d"] for each in (car, van, care_not)] == [2, 3, -1]
    assert [each["index"] for each in (car, van, care_not)] == [0, 1, -1]
    assert [each["difficulty"] for each in (car, van, care_not)] == [0, 1, -1]
    assert car["num_lidar_pts"] == 3 < len(POINTS)
    assert care_not["num_lidar_pts"] == -1
    assert car["bbox_3d"] == [0, 1.6, 20, 4, 1.5, 1.6, 0]
    assert car["depth"] == 20
    # the middle is 1.6 - 1.5 / 2 m below the camera
    assert car["center_2d"] == pytest.approx([50, 25 + 100 * 0.85 / 20])


def test_one_type_read_as_another(tmp_path):
    (frame,) = kitti_infos(kitti_folder(tmp_path), [0], kinds={"Van": "Car"})["data_list"]
    assert [each["bbox_label_3d"] for each in frame["instances"]] == [2, 2, -1]
    with pytest.raises(UserError, match=r"unknown \['Bus'\]"):
        kitti_infos(tmp_path, [0], kinds={"Bus": "Car"})


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, 0),  # 41 px high
        ({"box_px": (10, 5, 50, 45)}, 1),  # 40 px are not above 40
        ({"box_px": (10, 5, 50, 30)}, -1),
        ({"truncated": 0.2}, 1),
        ({"truncated": 0.4}, 2),
        ({"truncated": 0.6}, -1),
        ({"occluded": 1}, 1),
        ({"occluded": 2}, 2),
        ({"occluded": 3}, -1),
    ],
)
def test_difficulty(changes, level):
    assert difficulty(replace(CAR, **changes)) == level


def test_mmdet3d_reads_the_boxes_in_the_lidars_frame(tmp_path):
    root = kitti_folder(tmp_path / "training")
    path = tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps(kitti_infos(root, [0])))
    dataset = KittiDataset(
        data_root=str(root),
        ann_file=str(path),
        data_prefix={"pts": "velodyne_reduced"},
        metainfo={"classes": ["Car"]},
    )
    info = dataset.get_data_info(0)
    boxes = info["ann_info"]["gt_bboxes_3d"].tensor
    labels = info["ann_info"]["gt_labels_3d"]
    # its yaw counts from the LiDAR's x axis to its y axis: the car points along -y
    expected = torch.tensor([20, 0, -1.6, 4, 1.6, 1.5, -math.pi / 2])
    assert torch.allclose(boxes[labels == 0], expected[None], atol=1e-6)
    assert info["lidar_points"]["lidar_path"] == str(root / "velodyne_reduced" / "000000.bin")


def test_a_missing_cloud_is_named(tmp_path):
    root = kitti_folder(tmp_path)
    (root / "velodyne_reduced" / "000000.bin").unlink()
    with pytest.raises(UserError, match=r"velodyne_reduced/000000.bin: no such file"):
        kitti_infos(root, [0])


def test_command_writes_both_splits_and_does_not_overwrite(tmp_path, run_tool):
    root, out = kitti_folder(tmp_path / "training", frames=2), tmp_path / "out"
    arguments = (root, "--out", out, "--train", "0", "--val", "1", "--read", "Van=Car")
    assert run_tool("datasets/kitti_infos.py", *arguments) == (0, "")
    infos = pickle.loads((out / "kitti_infos_val.pkl").read_bytes())
    assert [each["bbox_label"] for each in infos["data_list"][0]["instances"]] == [2, 2, -1]
    code, message = run_tool("datasets/kitti_infos.py", *arguments)
    assert code == 2
    assert "--force" in message


def test_splits_share_no_frame(tmp_path, run_tool):
    root, out = kitti_folder(tmp_path / "training", frames=3), tmp_path / "out"
    splits = ("--train", "0-1", "--val", "2,1")
    for tool in ("kitti_infos.py", "kitti_to_coco.py"):
        code, message = run_tool(f"datasets/{tool}", root, "--out", out, *splits)
        assert code == 2
        assert message.startswith("error: train and val share 1 frames, 1 the first; give each")
    assert not out.exists()
