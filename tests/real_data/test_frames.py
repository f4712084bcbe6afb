"""Real frames through LiDAR configs: load, preprocess, one training step, predict."""

from pathlib import Path

import numpy as np
import pytest
import torch
from keyframes import keyframe_dataset, kitti_dataset
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, DefaultScope

from kd3d.configs import load_config
from kd3d.distill.teacher import drop_pretrained
from kd3d.models.separate_heads import initialize

ROOT = Path(__file__).resolve().parents[2]
CENTERPOINT = "centerpoint-pillar02-compact_nuscenes"
POINTPILLARS = "pointpillars-fpn-compact_nuscenes"
KITTI = "pointpillars-compact_kitti"
# config, frame, what is read of each point, objects in range
RUNS = [
    (CENTERPOINT, "a", [0, 1, 2, 3, 4], 50),
    (CENTERPOINT, "b", [0, 1, 2, 3, 4], 35),
    (POINTPILLARS, "a", [0, 1, 2, 4], 50),
    (POINTPILLARS, "b", [0, 1, 2, 4], 35),
    (KITTI, "kitti", [0, 1, 2, 3], 6),
]


def pipeline(load_dim, use_dim, extent, classes):
    return [
        {
            "type": "LoadPointsFromFile",
            "coord_type": "LIDAR",
            "load_dim": load_dim,
            "use_dim": use_dim,
        },
        {"type": "LoadAnnotations3D", "with_bbox_3d": True, "with_label_3d": True},
        {"type": "PointsRangeFilter", "point_cloud_range": extent},
        {"type": "ObjectRangeFilter", "point_cloud_range": extent},
        {"type": "ObjectNameFilter", "classes": classes},  # one object of keyframe a is of none
        {"type": "Pack3DDetInputs", "keys": ["points", "gt_bboxes_3d", "gt_labels_3d"]},
    ]


def frame(config, name, use_dim, folder):
    """The one frame of its dataset, with its real boxes, and the dataset's classes."""
    extent = list(config.model.data_preprocessor.voxel_layer.point_cloud_range)
    classes = list(config.class_names)
    if name == "kitti":
        dataset = kitti_dataset(folder, pipeline(4, use_dim, extent, classes), classes)
    else:
        dataset = keyframe_dataset(name, folder, pipeline(5, use_dim, extent, classes), classes)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        return DATASETS.build(dataset)[0]


@pytest.mark.parametrize(("name", "source", "use_dim", "objects"), RUNS)
def test_a_frame_is_learnt_from_and_predicted_on(name, source, use_dim, objects, tmp_path):
    torch.manual_seed(0)
    config = load_config(ROOT / "configs" / "det3d" / f"{name}.py")
    data = frame(config, source, use_dim, tmp_path)
    labels = data["data_samples"].gt_instances_3d.labels_3d
    assert len(labels) == objects
    assert ((labels >= 0) & (labels < len(config.class_names))).all()

    drop_pretrained(config.model)
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        model = MODELS.build(config.model)
    initialize(model)
    batch = model.data_preprocessor(pseudo_collate([data]), True)
    losses, logged = model.parse_losses(model(**batch, mode="loss"))
    losses.backward()
    assert torch.isfinite(losses)
    assert float(losses) > 0
    assert all(parameter.grad is not None for parameter in model.parameters()), logged
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    build_optim_wrapper(model, config.optim_wrapper).step()
    changed = zip(weights, model.parameters(), strict=True)
    assert all(not torch.equal(old, new) for old, new in changed if new.grad.any())

    with torch.no_grad():
        (found,) = model.eval().test_step(pseudo_collate([data]))
    boxes = found.pred_instances_3d.bboxes_3d.tensor
    assert len(boxes) == len(found.pred_instances_3d.scores_3d)
    assert np.isfinite(boxes.numpy()).all()
