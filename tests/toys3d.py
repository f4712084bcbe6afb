"""Tiny LiDAR detectors of mmdet3d and frames in nuScenes' info format."""

import copy
import pickle
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope

CLASSES = ("car", "truck", "pedestrian")
EXTENT = [-6.4, -6.4, -2.0, 6.4, 6.4, 2.0]
_NUSCENES_LABELS = (0, 1, 7)  # of CLASSES in NuScenesDataset's own order, which infos follow
_SIZES_M = ((2.0, 1.0, 1.0), (3.0, 1.5, 2.0), (0.8, 0.8, 1.6))


def frame(rng: np.random.Generator, objects: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Points (P, 5) x y z intensity time, and instances: boxes filled with points on a ground."""
    ground = rng.uniform([-7, -7, -1.1, 0, 0], [7, 7, -0.9, 0.2, 0], (400, 5))
    clouds, instances = [ground], []
    for _ in range(objects):
        label = int(rng.integers(len(CLASSES)))
        size = np.array(_SIZES_M[label])
        centre = np.array([*rng.uniform(-5, 5, 2), -1.0 + size[2] / 2])
        cloud = np.zeros((60, 5))
        cloud[:, :3] = centre + rng.uniform(-0.5, 0.5, (60, 3)) * size
        cloud[:, 3] = 0.3 + 0.2 * label
        clouds.append(cloud)
        instances.append(
            {
                "bbox_3d": [*centre, *size, 0.0],
                "bbox_label_3d": _NUSCENES_LABELS[label],
                "velocity": [0.5, -0.25],
                "num_lidar_pts": 60,
                "num_radar_pts": 0,
                "bbox_3d_isvalid": True,
            }
        )
    return np.concatenate(clouds).astype(np.float32), instances


def lidar_frames(
    folder: Path, *, frames: int = 6, seed: int = 0, empty: tuple[int, ...] = ()
) -> Path:
    """Writes frames for ``NuScenesDataset``; the path of the info file."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    infos = []
    for index in range(frames):
        points, instances = frame(rng, 0 if index in empty else 3)
        points.tofile(folder / f"{index}.bin")
        infos.append(
            {
                "sample_idx": index,
                "token": f"token{index}",
                "timestamp": 0.5 * index,
                "ego2global": np.eye(4).tolist(),
                "images": {},
                "lidar_points": {"lidar_path": f"{index}.bin", "num_pts_feats": 5},
                "instances": instances,
            }
        )
    path = folder / "infos.pkl"
    info = {"metainfo": {"dataset": "nuscenes", "classes": CLASSES}, "data_list": infos}
    path.write_bytes(pickle.dumps(info))
    return path


def pipeline(*, augmented: bool = True, extent: list[float] | None = None) -> list[dict[str, Any]]:
    extent = extent or EXTENT
    flip = {
        "type": "RandomFlip3D",
        "sync_2d": False,
        "flip_ratio_bev_horizontal": 0.5,
        "flip_ratio_bev_vertical": 0.5,
    }
    return [
        {"type": "LoadPointsFromFile", "coord_type": "LIDAR", "load_dim": 5, "use_dim": 5},
        {"type": "LoadAnnotations3D", "with_bbox_3d": True, "with_label_3d": True},
        *([flip] if augmented else []),
        {"type": "PointsRangeFilter", "point_cloud_range": extent},
        {"type": "ObjectRangeFilter", "point_cloud_range": extent},
        {"type": "Pack3DDetInputs", "keys": ["points", "gt_bboxes_3d", "gt_labels_3d"]},
    ]


def dataset(infos: Path, **changes: Any) -> dict[str, Any]:
    return {
        "type": "NuScenesDataset",
        "data_root": "",
        "ann_file": str(infos),
        "data_prefix": {"pts": str(infos.parent), "sweeps": str(infos.parent)},
        "pipeline": pipeline(),
        "metainfo": {"classes": CLASSES},
        "modality": {"use_lidar": True, "use_camera": False},
        "box_type_3d": "LiDAR",
        "filter_empty_gt": False,
        **changes,
    }


def centerpoint(
    channels: int = 4,
    *,
    pillar_m: float = 0.4,
    extent: list[float] | None = None,
    tasks: tuple[tuple[str, ...], ...] = (("car", "truck"), ("pedestrian",)),
) -> dict[str, Any]:
    """CenterPoint on pillars with a BEV map of half their resolution."""
    extent = extent or EXTENT
    size = [pillar_m, pillar_m, extent[5] - extent[2]]
    cells = round((extent[3] - extent[0]) / pillar_m)
    norm = {"type": "BN", "eps": 1e-3, "momentum": 0.1}
    return {
        "type": "CenterPoint",
        "data_preprocessor": {
            "type": "Det3DDataPreprocessor",
            "voxel": True,
            "voxel_layer": {
                "max_num_points": 8,
                "voxel_size": size,
                "point_cloud_range": extent,
                "max_voxels": (2000, 4000),
            },
        },
        "pts_voxel_encoder": {
            "type": "PillarFeatureNet",
            "in_channels": 5,
            "feat_channels": [channels],
            "voxel_size": size,
            "point_cloud_range": extent,
            "norm_cfg": {"type": "BN1d", "eps": 1e-3, "momentum": 0.1},
            "legacy": False,
        },
        "pts_middle_encoder": {
            "type": "PointPillarsScatter",
            "in_channels": channels,
            "output_shape": (cells, cells),
        },
        "pts_backbone": {
            "type": "SECOND",
            "in_channels": channels,
            "out_channels": [channels, 2 * channels],
            "layer_nums": [1, 1],
            "layer_strides": [2, 2],
            "norm_cfg": norm,
            "conv_cfg": {"type": "Conv2d", "bias": False},
        },
        "pts_neck": {
            "type": "SECONDFPN",
            "in_channels": [channels, 2 * channels],
            "out_channels": [channels, channels],
            "upsample_strides": [1, 2],
            "norm_cfg": norm,
            "upsample_cfg": {"type": "deconv", "bias": False},
            "use_conv_for_no_stride": True,
        },
        "pts_bbox_head": {
            "type": "CenterHead",
            "in_channels": 2 * channels,
            "tasks": [{"num_class": len(names), "class_names": list(names)} for names in tasks],
            "common_heads": {
                "reg": (2, 2),
                "height": (1, 2),
                "dim": (3, 2),
                "rot": (2, 2),
                "vel": (2, 2),
            },
            "share_conv_channel": 8,
            "bbox_coder": {
                "type": "CenterPointBBoxCoder",
                "pc_range": extent[:2],
                "post_center_range": [-10, -10, -10, 10, 10, 10],
                "max_num": 20,
                "score_threshold": 0.05,
                "out_size_factor": 2,
                "voxel_size": size[:2],
                "code_size": 9,
            },
            "separate_head": {
                "type": "SeparateHead",
                "head_conv": 8,
                "init_bias": -2.19,
                "final_kernel": 3,
            },
            "loss_cls": {"type": "mmdet.GaussianFocalLoss", "reduction": "mean"},
            "loss_bbox": {"type": "mmdet.L1Loss", "reduction": "mean", "loss_weight": 0.25},
            "norm_bbox": True,
        },
        "train_cfg": {
            "pts": {
                "grid_size": [cells, cells, 1],
                "voxel_size": size,
                "point_cloud_range": extent,
                "out_size_factor": 2,
                "dense_reg": 1,
                "gaussian_overlap": 0.1,
                "max_objs": 20,
                "min_radius": 2,
                "code_weights": [1.0] * 8 + [0.2, 0.2],
            }
        },
        "test_cfg": {
            "pts": {
                "pc_range": extent[:2],
                "post_center_limit_range": [-10, -10, -10, 10, 10, 10],
                "max_per_img": 20,
                "max_pool_nms": False,
                "min_radius": [1.0, 1.0],
                "score_threshold": 0.05,
                "out_size_factor": 2,
                "voxel_size": size[:2],
                "nms_type": "circle",
                "pre_max_size": 100,
                "post_max_size": 20,
                "nms_thr": 0.2,
            }
        },
    }


def voxel_centerpoint(channels: int = 4, *, voxel_m: float = 0.2) -> dict[str, Any]:
    """CenterPoint on voxels, with a sparse encoder and a backbone of stride 2 each."""
    model = centerpoint(channels)
    cells = round((EXTENT[3] - EXTENT[0]) / voxel_m)
    layers = round((EXTENT[5] - EXTENT[2]) / voxel_m)
    model["data_preprocessor"]["voxel_layer"]["voxel_size"] = [voxel_m] * 3
    model["pts_voxel_encoder"] = {"type": "HardSimpleVFE", "num_features": 5}
    norm = {"type": "BN1d", "eps": 1e-3, "momentum": 0.1}
    model["pts_middle_encoder"] = {
        "type": "SparseEncoder",
        "in_channels": 5,
        "sparse_shape": [layers + 1, cells, cells],
        "base_channels": 4,
        "output_channels": 4,
        "order": ("conv", "norm", "act"),
        "encoder_channels": ((4, 4), (4, 4)),
        "encoder_paddings": ((0, 1), (0, 0)),
        "block_type": "basicblock",
        "norm_cfg": norm,
    }
    depth = (layers // 2 - 2) // 2 + 1  # after strides of 2 along z, with and without padding
    model["pts_backbone"]["in_channels"] = 4 * depth
    return model


def built(model: dict[str, Any], *, scope: str = "mmdet3d", seed: int = 0) -> Any:
    """The detector of a config, with weights as torch draws them."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(ConfigDict(copy.deepcopy(model)))


def training(
    folder: Path,
    model: dict[str, Any],
    *,
    hooks: list[dict[str, Any]] | None = None,
    iterations: int = 2,
    batch: int = 2,
    seed: int = 0,
    **changes: Any,
) -> Config:
    """An iteration-based training of ``model`` on :func:`lidar_frames`."""
    infos = lidar_frames(folder / "data")
    return Config(
        {
            "default_scope": "mmdet3d",
            "experiment_name": uuid.uuid4().hex,
            "model": model,
            "train_dataloader": {
                "batch_size": batch,
                "num_workers": 0,
                "sampler": {"type": "InfiniteSampler", "shuffle": True},
                "dataset": dataset(infos),
            },
            "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": iterations},
            "optim_wrapper": {
                "type": "OptimWrapper",
                "optimizer": {"type": "AdamW", "lr": 0.001, "weight_decay": 0.01},
            },
            "default_hooks": {
                "logger": {"type": "LoggerHook", "interval": 1},
                "checkpoint": {"type": "CheckpointHook", "interval": 1000, "by_epoch": False},
            },
            "custom_hooks": hooks or [],
            "randomness": {"seed": seed},
            "work_dir": str(folder / "work"),
            "log_level": "ERROR",
            "log_processor": {"by_epoch": False},
            **changes,
        }
    )


def teacher_config(path: Path, model: dict[str, Any], **changes: Any) -> str:
    """Writes a teacher's config file; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Config({"default_scope": "mmdet3d", "model": model, **changes}).dump(path)
    return str(path)


def points(count: int = 2, seed: int = 0, objects: int = 3) -> list[torch.Tensor]:
    """Point clouds (P, 5) of ``count`` frames."""
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(frame(rng, objects)[0]) for _ in range(count)]
