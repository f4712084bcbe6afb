"""Every config of KITTI and its drive: built with its teacher, and trained for a real step."""

import pickle
from pathlib import Path

import pytest
from kitti_toys import kitti_folder
from lidar_configs import every_pair_teaches, on_one_batch

from kd3d.configs import load_config
from kd3d.datasets.kitti_infos import kitti_infos

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs" / "det3d").glob("*_from_*_kitti*.py"))
STUDENT_FROM_TEACHER = {
    "pointpillars-compact_from_pointpillars",
    "pointpillars-compact_from_second",
    "pointpillars-thin_from_pointpillars",
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = kitti_folder(tmp_path_factory.mktemp("kitti") / "training")
    infos = root / "infos.pkl"
    infos.write_bytes(pickle.dumps(kitti_infos(root, [0])))
    return {
        "type": "KittiDataset",
        "data_root": "",
        "ann_file": str(infos),
        "data_prefix": {"pts": str(root / "velodyne_reduced")},
        "pipeline": [
            {"type": "LoadPointsFromFile", "coord_type": "LIDAR", "load_dim": 4, "use_dim": 4},
            {"type": "LoadAnnotations3D", "with_bbox_3d": True, "with_label_3d": True},
            {"type": "Pack3DDetInputs", "keys": ["points", "gt_bboxes_3d", "gt_labels_3d"]},
        ],
        "modality": {"use_lidar": True, "use_camera": False},
        "box_type_3d": "LiDAR",
    }


def test_the_pairs_of_student_and_teacher_are_all_there():
    assert len(CONFIGS) == 3
    assert {path.stem.rsplit("_", 2)[0] for path in CONFIGS} == STUDENT_FROM_TEACHER


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_one_training_step(path, dataset, tmp_path):
    dataset = {**dataset, "metainfo": load_config(path).metainfo}
    config = on_one_batch(path, dataset, tmp_path, student=2, teacher=2)
    every_pair_teaches(config, prefix="")
