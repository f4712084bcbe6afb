"""Infos equal those of mmdet3d's own converter, and mmdet3d's data set reads them."""

import math
import pickle
import runpy
from pathlib import Path

import mmdet3d
import numpy as np
import pytest
from mmcv.ops import points_in_boxes_cpu
from mmdet3d.datasets import NuScenesDataset
from mmdet3d.utils import register_all_modules
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.splits import get_scenes_of_split

from kd3d.datasets.synthetic.nuscenes.camera_infos import box_in_image, camera_instance
from kd3d.datasets.synthetic.nuscenes.cameras import CAMERAS
from kd3d.datasets.synthetic.nuscenes.dataset import World, make_world
from kd3d.datasets.synthetic.nuscenes.infos import transform
from kd3d.datasets.synthetic.nuscenes.photographs import Photograph

CONVERTERS = Path(mmdet3d.__file__).parent / ".mim/tools/dataset_converters"


class BlankPhotographer:
    """Images of nothing: infos hold their names and matrices only."""

    def __init__(self, scene, seed):
        self.actors = len(scene.actors)

    def keyframe(self, time_s):
        none = np.zeros(self.actors, dtype=np.int64)
        return [Photograph(camera.channel, b"", {}, none, none) for camera in CAMERAS]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A world at data/nuscenes, where the second converter looks for it, and its infos."""
    folder = tmp_path_factory.mktemp("converted")
    root = folder / "data/nuscenes"
    with pytest.MonkeyPatch.context() as patch:
        module = "kd3d.datasets.synthetic.nuscenes.photographs.Photographer"
        patch.setattr(module, BlankPhotographer)
        make_world(root, World(1, 1, 1, keyframes=3, seed=3, sweeps=2, cameras=True))
        patch.chdir(folder)
        first = runpy.run_path(str(CONVERTERS / "nuscenes_converter.py"))
        first["create_nuscenes_infos"]("data/nuscenes", "old", max_sweeps=10)
        second = runpy.run_path(str(CONVERTERS / "update_infos_to_v2.py"))
        for split in ("train", "val"):
            second["update_nuscenes_infos"](f"data/nuscenes/old_infos_{split}.pkl", str(folder))
    return folder


def assert_same(ours, theirs, where=""):
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs), where
        for key, value in theirs.items():
            assert_same(ours[key], value, f"{where}.{key}")
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), where
        for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f"{where}[{place}]")
    elif isinstance(theirs, str):
        assert theirs.removeprefix("data/nuscenes/") == ours, where
    elif theirs is None:
        assert ours is None, where
    elif where.endswith("bbox_3d[6]"):  # an angle
        assert abs(math.remainder(ours - theirs, 2 * math.pi)) < 1e-4, where
    else:
        assert ours == pytest.approx(theirs, abs=1e-4, rel=1e-6, nan_ok=True), where


def infos(converted, split):
    return pickle.loads((converted / f"data/nuscenes/nuscenes_infos_{split}.pkl").read_bytes())


def test_val_has_the_scenes_of_the_official_val_alone(converted):
    database = NuScenes("v1.0-trainval", str(converted / "data/nuscenes"), verbose=False)
    for split in ("train", "val"):
        names = get_scenes_of_split(split, database)
        scenes = [scene["token"] for scene in database.scene if scene["name"] in names]
        official = [row["token"] for row in database.sample if row["scene_token"] in scenes]
        assert [info["token"] for info in infos(converted, split)["data_list"]] == official
        assert len(official) == 3


@pytest.mark.parametrize(("split", "later"), [("train", []), ("val", ["test"])])
def test_same_as_mmdet3ds_converter(converted, split, later):
    """Whose val is whatever is not in train: here the test scene comes after ours."""
    ours = infos(converted, split)
    for part in later:
        more = infos(converted, part)
        ours["metainfo"]["categories"] |= more["metainfo"]["categories"]
        ours["data_list"] += [{**i, "sample_idx": i["sample_idx"] + 3} for i in more["data_list"]]
    theirs = pickle.loads((converted / f"old_infos_{split}.pkl").read_bytes())
    # theirs names the unscored categories of the last keyframe only
    unscored = theirs["metainfo"]["categories"].items() - ours["metainfo"]["categories"].items()
    assert not unscored
    theirs["metainfo"]["categories"] = ours["metainfo"]["categories"]
    assert_same(ours, theirs)
    assert len(ours["data_list"]) == 3 + 3 * len(later)
    assert all(len(info["instances"]) > 10 for info in ours["data_list"])
    assert any(info["cam_instances"]["CAM_FRONT"] for info in ours["data_list"])
    assert [len(info.get("lidar_sweeps", [])) for info in ours["data_list"][:3]] == [2, 5, 8]


def test_mmdet3d_reads_points_sweeps_and_boxes(small_root):
    register_all_modules(init_default_scope=True)
    data = NuScenesDataset(
        data_root=str(small_root),
        ann_file="nuscenes_infos_train.pkl",
        data_prefix={"pts": "samples/LIDAR_TOP", "sweeps": "sweeps/LIDAR_TOP"},
        pipeline=[
            {"type": "LoadPointsFromFile", "coord_type": "LIDAR", "load_dim": 5, "use_dim": 5},
            {"type": "LoadPointsFromMultiSweeps", "sweeps_num": 1},
            {"type": "LoadAnnotations3D", "with_bbox_3d": True, "with_label_3d": True},
            {"type": "Pack3DDetInputs", "keys": ["points", "gt_bboxes_3d", "gt_labels_3d"]},
        ],
    )
    assert len(data) == 8
    item = data[1]
    file = small_root / data.get_data_info(1)["lidar_points"]["lidar_path"]
    single = np.fromfile(file, np.float32).size // 5
    assert len(item["inputs"]["points"]) > 1.8 * single
    boxes = item["data_samples"].gt_instances_3d.bboxes_3d
    assert boxes.tensor.shape[1] == 9
    assert boxes.bottom_center[:, 2].numpy() == pytest.approx(-1.84, abs=0.05)
    # points of an earlier turn, moved by the poses, lie on the same standing things
    points = item["inputs"]["points"][:, :3]
    inside = points_in_boxes_cpu(points[None], boxes.tensor[None, :, :7]).sum()
    assert inside > 500


def test_box_at_the_images_edge():
    intrinsic = np.array([[100.0, 0, 800], [0, 100, 450], [0, 0, 1]])
    ahead = transform([1, 0, 0, 0], [0.0, 0.0, 10.0])
    # half a metre to each side, nearest face 9.5 m away: 50 / 9.5 px
    reach = 50 / 9.5
    expected = (800 - reach, 450 - reach, 800 + reach, 450 + reach)
    assert box_in_image(ahead, np.ones(3), intrinsic) == pytest.approx(expected)
    left = transform([1, 0, 0, 0], [-80.0, 0.0, 10.0])  # its middle is at column 0
    assert box_in_image(left, np.ones(3), intrinsic)[0] == 0
    assert box_in_image(transform([1, 0, 0, 0], [0, 0, -5.0]), np.ones(3), intrinsic) is None
    behind = transform([1, 0, 0, 0], [0, 0, -0.1])  # a part of it reaches ahead
    assert camera_instance(behind, np.ones(3), np.zeros(3), intrinsic, 0, None) is None
