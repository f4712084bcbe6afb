"""Tiny pillar detectors of mmdet3d whose scores are spread and whose boxes have some size."""

from typing import Any

import numpy as np
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import Config
from torch import nn
from toys3d import CLASSES, EXTENT, centerpoint, points

import kd3d.models.class_nms  # noqa: F401  # registers the coder
from kd3d.export.detector import build_detector

SOURCE = {"config": "c.py", "config_hash": "1", "checkpoint": "w.pth", "checkpoint_hash": "2"}


def rotated_centerpoint() -> dict[str, Any]:
    """CenterPoint with rotated NMS, legacy pillar features and two pillar layers."""
    model = centerpoint()
    model["pts_voxel_encoder"].update(legacy=True, with_distance=True, feat_channels=[6, 4])
    settings = {"nms_type": "rotate", "nms_thr": 0.1, "pre_max_size": 15, "post_max_size": 7}
    # narrower than the coder's, so that what NMS keeps is filtered once more
    limits = [-5, -5, -10, 5, 5, 10]
    model["test_cfg"]["pts"].update(settings, score_threshold=0.4, post_center_limit_range=limits)
    return model


def centerpoint_by_class() -> dict[str, Any]:
    """CenterPoint whose coder drops boxes near a better one of their class."""
    model = centerpoint()
    head = model["pts_bbox_head"]
    limits = [[6.0] * len(task["class_names"]) for task in head["tasks"]]
    head["bbox_coder"].update(type="kd3d.ClassNmsBBoxCoder", class_limits_m2=limits)
    model["test_cfg"]["pts"].update(min_radius=[-1] * len(limits))
    return model


def pointpillars(*, multi_view: bool = False) -> dict[str, Any]:
    """PointPillars of VoxelNet, or with HardVFE and a pyramid of MVXFasterRCNN."""
    base = centerpoint(extent=EXTENT)
    prefix = "pts_" if multi_view else ""
    encoder = base["pts_voxel_encoder"]
    if multi_view:
        encoder.pop("legacy")
        encoder.update(type="HardVFE", feat_channels=[4, 4], with_cluster_center=True)
        encoder.update(with_voxel_center=True)
        neck = {"type": "mmdet.FPN", "in_channels": [4, 8], "out_channels": 8, "num_outs": 2}
    else:
        neck = base["pts_neck"]
    low, high = EXTENT[:2], EXTENT[3:5]
    head = {
        "type": "Anchor3DHead",
        "num_classes": len(CLASSES),
        "in_channels": 8,
        "feat_channels": 8,
        "use_direction_classifier": True,
        "anchor_generator": {
            "type": "AlignedAnchor3DRangeGenerator",
            "ranges": [[*low, -1.0, *high, -1.0]],
            "sizes": [[2.0, 1.0, 1.0], [0.8, 0.8, 1.6]],
            "rotations": [0, 1.57],
            "reshape_out": multi_view,
            **({"scales": [1, 2], "custom_values": [0, 0]} if multi_view else {}),
        },
        "dir_offset": -0.7854,
        "bbox_coder": {"type": "DeltaXYZWLHRBBoxCoder", "code_size": 9 if multi_view else 7},
        "loss_cls": {"type": "mmdet.FocalLoss", "use_sigmoid": True},
        "loss_bbox": {"type": "mmdet.SmoothL1Loss"},
        "loss_dir": {"type": "mmdet.CrossEntropyLoss", "use_sigmoid": False},
    }
    test = {"use_rotate_nms": True, "nms_pre": 60, "nms_thr": 0.1, "score_thr": 0.4, "max_num": 30}
    if not multi_view:
        test.update(use_rotate_nms=False, nms_pre=100)
    return {
        "type": "MVXFasterRCNN" if multi_view else "VoxelNet",
        "data_preprocessor": base["data_preprocessor"],
        f"{prefix}voxel_encoder": encoder,
        f"{prefix}middle_encoder": base["pts_middle_encoder"],
        f"{prefix}backbone": base["pts_backbone"],
        f"{prefix}neck": neck,
        f"{prefix}bbox_head": head,
        "test_cfg": {"pts": test} if multi_view else test,
    }


MODELS = {
    "centerpoint": centerpoint,
    "centerpoint-by-class": centerpoint_by_class,
    "centerpoint-rotated": rotated_centerpoint,
    "pointpillars": pointpillars,
    "pointpillars-mvx": lambda: pointpillars(multi_view=True),
}


def pillar_config(name: str) -> Config:
    return Config({"default_scope": "mmdet3d", "model": MODELS[name]()})


def pillar_detector(cfg: Config) -> nn.Module:
    """Random weights and statistics; scores are spread between 0 and 1."""
    torch.manual_seed(0)
    detector = build_detector(cfg)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            last = "heatmap.1" in name or "heatmap.0.conv" in name
            if last or "conv_cls" in name or "conv_dir" in name:
                parameter.normal_(std=0.5)
        for name, buffer in detector.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.1)
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return detector


def raw_batch(clouds: list[Any]) -> dict[str, Any]:
    """What a data loader hands to ``test_step``."""
    tensors = [torch.as_tensor(np.asarray(cloud)) for cloud in clouds]
    samples = [Det3DDataSample(metainfo={"box_type_3d": LiDARInstance3DBoxes}) for _ in clouds]
    return {"inputs": {"points": tensors}, "data_samples": samples}


def frames(count: int, seed: int = 0) -> list[np.ndarray]:
    """Point clouds (N, 5)."""
    return [cloud.numpy() for cloud in points(count, seed)]


def arrays(instances: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores, labels of mmdet3d's instances."""
    return (
        instances.bboxes_3d.tensor.numpy(),
        instances.scores_3d.numpy(),
        instances.labels_3d.numpy(),
    )
