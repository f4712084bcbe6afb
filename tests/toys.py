"""Tiny real detectors and datasets: mmdet's own classes, trained in milliseconds a step."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = ("car", "person")
SIZE = 64


def traffic(folder: Path, *, images: int = 8, seed: int = 0) -> Path:
    """Writes a COCO-format set of coloured boxes; the path of its annotation file."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    annotations: list[dict[str, Any]] = []
    for index in range(images):
        picture = rng.integers(0, 80, (SIZE, SIZE, 3), dtype=np.uint8)
        for _ in range(2):
            category = int(rng.integers(1, 3))
            x, y = (int(v) for v in rng.integers(0, SIZE - 24, 2))
            w, h = (int(v) for v in rng.integers(12, 24, 2))
            picture[y : y + h, x : x + w, category] = 220
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    path = folder / "annotations.json"
    path.write_text(
        json.dumps(
            {
                "images": [
                    {"id": i, "file_name": f"{i}.png", "width": SIZE, "height": SIZE}
                    for i in range(images)
                ],
                "annotations": annotations,
                "categories": [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)],
            }
        )
    )
    return path


def preprocessor(**changes: Any) -> dict[str, Any]:
    return {
        "type": "DetDataPreprocessor",
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "bgr_to_rgb": True,
        "pad_size_divisor": 32,
        **changes,
    }


def backbone(channels: int) -> dict[str, Any]:
    return {
        "type": "ResNet",
        "depth": 18,
        "base_channels": channels,
        "num_stages": 3,
        "strides": (1, 2, 2),
        "dilations": (1, 1, 1),
        "out_indices": (1, 2),
        "frozen_stages": -1,
        "norm_cfg": {"type": "BN", "requires_grad": True},
        "norm_eval": False,
        "style": "pytorch",
    }


def retinanet(channels: int = 4, width: int = 8, *, classes: int = 2) -> dict[str, Any]:
    """RetinaNet on a thin ResNet-18, two levels (strides 8 and 16)."""
    return {
        "type": "RetinaNet",
        "data_preprocessor": preprocessor(),
        "backbone": backbone(channels),
        "neck": {
            "type": "FPN",
            "in_channels": [channels * 2, channels * 4],
            "out_channels": width,
            "num_outs": 2,
        },
        "bbox_head": {
            "type": "RetinaHead",
            "num_classes": classes,
            "in_channels": width,
            "stacked_convs": 1,
            "feat_channels": width,
            "anchor_generator": {
                "type": "AnchorGenerator",
                "octave_base_scale": 2,
                "scales_per_octave": 1,
                "ratios": [1.0],
                "strides": [8, 16],
            },
            "bbox_coder": {
                "type": "DeltaXYWHBBoxCoder",
                "target_means": [0.0, 0.0, 0.0, 0.0],
                "target_stds": [1.0, 1.0, 1.0, 1.0],
            },
            "loss_cls": {"type": "FocalLoss", "use_sigmoid": True, "loss_weight": 1.0},
            "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
        },
        "train_cfg": {
            "assigner": {
                "type": "MaxIoUAssigner",
                "pos_iou_thr": 0.5,
                "neg_iou_thr": 0.4,
                "min_pos_iou": 0,
                "ignore_iof_thr": -1,
            },
            "sampler": {"type": "PseudoSampler"},
            "allowed_border": -1,
            "pos_weight": -1,
            "debug": False,
        },
        "test_cfg": {
            "nms_pre": 100,
            "min_bbox_size": 0,
            "score_thr": 0.05,
            "nms": {"type": "nms", "iou_threshold": 0.5},
            "max_per_img": 20,
        },
    }


def training(
    folder: Path,
    model: dict[str, Any],
    *,
    hooks: list[dict[str, Any]] | None = None,
    iterations: int = 4,
    batch: int = 2,
    seed: int = 0,
    **changes: Any,
) -> Config:
    """An iteration-based training of ``model`` on :func:`traffic`, ready for ``Runner.from_cfg``.

    Args:
        folder: data and work dir go below it.
        model: as :func:`retinanet` gives it.
        hooks: ``custom_hooks``.
        iterations: of training; validation runs at its end where ``val_cfg`` is among changes.
        batch: images a step.
        seed: of all generators.
        changes: top-level keys that replace the ones here.
    """
    annotations = traffic(folder / "data")
    dataset = {
        "type": "CocoDataset",
        "ann_file": str(annotations),
        "data_prefix": {"img": str(annotations.parent)},
        "metainfo": {"classes": CLASSES},
        "pipeline": [
            {"type": "LoadImageFromFile"},
            {"type": "LoadAnnotations", "with_bbox": True},
            {"type": "Resize", "scale": (SIZE, SIZE), "keep_ratio": True},
            {"type": "RandomFlip", "prob": 0.5},
            {"type": "PackDetInputs"},
        ],
    }
    tested = {
        **dataset,
        "test_mode": True,
        "pipeline": [
            {"type": "LoadImageFromFile"},
            {"type": "Resize", "scale": (SIZE, SIZE), "keep_ratio": True},
            {
                "type": "PackDetInputs",
                "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
            },
        ],
    }
    return Config(
        {
            "default_scope": "mmdet",
            # by default all runs of one second share MMEngine's message hub and visualizer
            "experiment_name": uuid.uuid4().hex,
            "model": model,
            "test_dataloader": {
                "batch_size": 2,
                "num_workers": 0,
                "sampler": {"type": "DefaultSampler", "shuffle": False},
                "dataset": tested,
            },
            "test_cfg": {"type": "TestLoop"},
            "test_evaluator": {"type": "CocoMetric", "ann_file": str(annotations)},
            "train_dataloader": {
                "batch_size": batch,
                "num_workers": 0,
                "sampler": {"type": "InfiniteSampler", "shuffle": True},
                "dataset": dataset,
            },
            "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": iterations},
            "optim_wrapper": {
                "type": "OptimWrapper",
                "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4},
            },
            "param_scheduler": [
                {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 3},
                {"type": "MultiStepLR", "by_epoch": False, "milestones": [6, 9], "gamma": 0.1},
            ],
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


def distill_hook(config: str, pairs: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """A DistillHook with a random teacher unless ``teacher=`` tells otherwise."""
    settings = {"config": config, "checkpoint": "random", **changes.pop("teacher", {})}
    return {"type": "DistillHook", "teacher": settings, "pairs": pairs, **changes}


def neck_pair(**changes: Any) -> dict[str, Any]:
    return {
        "name": "neck",
        "student": "neck",
        "teacher": "neck",
        "loss": {"type": "FeatureL2"},
        "weight": 1.0,
        **changes,
    }


def response_pair(**changes: Any) -> dict[str, Any]:
    return {
        "name": "response",
        "student": "bbox_head",
        "teacher": "bbox_head",
        "loss": {"type": "DenseResponse"},
        "weight": 1.0,
        **changes,
    }


def teacher_config(path: Path, model: dict[str, Any], **changes: Any) -> str:
    """Writes a teacher's config file; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Config({"default_scope": "mmdet", "model": model, **changes}).dump(path)
    return str(path)


class WatchGradients(Hook):
    """Notes the parameters whose gradient is not zero."""

    def __init__(self):
        self.reached = set()

    def before_train(self, runner):
        for name, parameter in runner.model.named_parameters():
            if parameter.requires_grad:
                parameter.register_hook(lambda grad, name=name: self.note(name, grad))

    def note(self, name, grad):
        if grad.any():
            self.reached.add(name)


class Watch(Hook):
    """Calls a function after every iteration."""

    priority = "LOW"

    def __init__(self, look: Callable[[Any, Any], None]) -> None:
        self.look = look

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.look(runner, outputs)


class WatchBatch(Hook):
    """Calls a function with every batch."""

    def __init__(self, look: Callable[[Any], None]) -> None:
        self.look = look

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.look(data_batch)


def distilling(runner: Any) -> Any:
    """The runner's first DistillHook."""
    return next(hook for hook in runner.hooks if type(hook).__name__ == "DistillHook")


@MODELS.register_module(force=True)
class ToyDropout(nn.Module):
    """Dropout after a neck: draws from torch's generator in training."""

    def __init__(self, p: float = 0.3) -> None:
        super().__init__()
        self.p = p

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(F.dropout(level, self.p, self.training) for level in levels)
