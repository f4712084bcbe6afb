"""What importing the package does for transforms of mmdet and mmdet3d."""

import pickle

import numpy as np
from mmengine.registry import TRANSFORMS, DefaultScope

import kd3d.datasets  # noqa: F401  (gives numpy.long back)


def test_objects_of_other_frames_can_be_pasted(tmp_path, monkeypatch):
    np.array([[0.5, 0.0, 1.0, 0.3], [-0.5, 0.0, 1.0, 0.7]], np.float32).tofile(tmp_path / "car.bin")
    box = np.array([10.0, 2.0, -1.0, 4.0, 2.0, 1.5, 0.0], np.float32)
    car = {"name": "Car", "path": "car.bin", "box3d_lidar": box, "difficulty": 0}
    (tmp_path / "infos.pkl").write_bytes(pickle.dumps({"Car": [car]}))
    points = {"type": "LoadPointsFromFile", "coord_type": "LIDAR", "load_dim": 4, "use_dim": 4}
    sampler = {
        "data_root": str(tmp_path),
        "info_path": str(tmp_path / "infos.pkl"),
        "rate": 1.0,
        "prepare": {},
        "sample_groups": {"Car": 2},
        "classes": ["Pedestrian", "Car"],
        "points_loader": points,
    }
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        step = TRANSFORMS.build({"type": "ObjectSample", "db_sampler": sampler})
    # what looks for collisions is compiled by numba, for seconds
    monkeypatch.setattr(step.db_sampler, "sample_class_v2", lambda *_: [car])
    pedestrian = np.array([[30.0, 0.0, -1.0, 1.0, 1.0, 1.8, 0.0]], np.float32)
    pasted = step.db_sampler.sample_all(pedestrian, np.array([0]))
    assert pasted["gt_labels_3d"].tolist() == [1]
    assert pasted["gt_labels_3d"].dtype == np.int64
    # the object's points are kept about its box
    assert pasted["points"].tensor[:, :3].tolist() == [[10.5, 2.0, 0.0], [9.5, 2.0, 0.0]]
