"""Every full-COCO config: built with its teacher from scratch, and trained for one real step."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import toys
from mmdet.datasets import CocoDataset
from mmengine.runner import Runner

from kd3d.configs import load_config
from kd3d.distill.hook import DistillHook
from kd3d.distill.teacher import drop_pretrained

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs" / "det2d").glob("*_coco.py"))
SIZE_PX = 96
STUDENT_FROM_TEACHER = {
    "faster-rcnn-r50_from_r101",
    "fcos-r50_from_r101",
    "gfl-r18_from_r101",
    "retinanet-mobilenetv2_from_r101",
    "retinanet-r18_from_r101",
    "retinanet-r50_from_r101",
    "rtmdet-tiny_from_s",
    "yolox-nano_from_s",
    "yolox-tiny_from_tiny",
}


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """Two images with all 80 classes of COCO in the file, and two boxes each."""
    folder = tmp_path_factory.mktemp("coco")
    rng = np.random.default_rng(0)
    boxes = [[8, 12, 40, 40], [50, 40, 30, 44]]
    for image in range(2):
        pixels = rng.integers(0, 255, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{image}.png"), pixels)
    images = [
        {"id": i, "file_name": f"{i}.png", "width": SIZE_PX, "height": SIZE_PX} for i in range(2)
    ]
    annotations = [
        {
            "id": 2 * image + index + 1,
            "image_id": image,
            "category_id": 1 + 3 * index,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
        }
        for image in range(2)
        for index, box in enumerate(boxes)
    ]
    names = enumerate(CocoDataset.METAINFO["classes"], start=1)
    categories = [{"id": number, "name": name} for number, name in names]
    assert len(categories) == 80
    path = folder / "annotations.json"
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return path


def small(path, coco, work_dir):
    """The config as it is, without pretrained weights, on one batch of two small images."""
    config = load_config(path)
    drop_pretrained(config.model)
    config.load_from = None
    for hook in config.custom_hooks:
        if hook["type"] == "DistillHook":
            hook["teacher"]["checkpoint"] = "random"
    dataset = {
        "type": "CocoDataset",
        "ann_file": str(coco),
        "data_prefix": {"img": str(coco.parent)},
        "pipeline": [
            {"type": "LoadImageFromFile"},
            {"type": "LoadAnnotations", "with_bbox": True},
            {"type": "Resize", "scale": (SIZE_PX, SIZE_PX), "keep_ratio": True},
            {"type": "PackDetInputs"},
        ],
    }
    if config.train_dataloader.dataset.type == "MultiImageMixDataset":  # YOLOX's hook switches it
        mixed = [{"type": "RandomFlip", "prob": 0.5}]
        packed = dataset["pipeline"].pop()
        dataset = {
            "type": "MultiImageMixDataset",
            "dataset": dataset,
            "pipeline": [*mixed, packed],
        }
    config.train_dataloader = {
        "batch_size": 2,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "dataset": dataset,
    }
    config.train_cfg = {"type": "EpochBasedTrainLoop", "max_epochs": 1}
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        config[key] = None
    for key in ("test_dataloader", "test_cfg", "test_evaluator"):
        config[key] = None
    config.default_hooks.checkpoint = {"type": "CheckpointHook", "interval": 10}
    config.randomness = {"seed": 0}
    config.work_dir = str(work_dir)
    config.log_level = "ERROR"
    return config


def test_the_pairs_of_student_and_teacher_are_all_there():
    assert len(CONFIGS) == 9
    assert {path.stem.rsplit("_", 2)[0] for path in CONFIGS} == STUDENT_FROM_TEACHER


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_one_training_step(path, coco, tmp_path):
    config = small(path, coco, tmp_path)
    hooks = [hook["type"] for hook in config.custom_hooks]
    runner = Runner.from_cfg(config)
    seen = []
    runner.register_hook(toys.Watch(lambda runner, outputs: seen.append(outputs)))
    gradients = toys.WatchGradients()
    runner.register_hook(gradients)
    runner.train()

    (losses,) = seen
    distilling = [hook for hook in runner.hooks if isinstance(hook, DistillHook)]
    assert len(distilling) == hooks.count("DistillHook") == 1
    reports = distilling[0].reports
    wanted = [pair["name"] for pair in config.custom_hooks[-1]["pairs"]]
    assert [report.name for report in reports] == wanted
    for report in reports:
        assert torch.isfinite(losses[f"loss_{report.name}"])
        # a divergence of two untrained heads of one kind may be rounded to just below 0
        assert losses[f"loss_{report.name}"] != 0
        assert report.gradient_share > 0
    assert torch.isfinite(losses["loss"])
    assert {hook for hook in hooks if hook != "DistillHook"} <= {
        type(hook).__name__ for hook in runner.hooks
    }
    head = "roi_head" if hasattr(runner.model, "roi_head") else "bbox_head"
    for part in ("backbone", "neck", head):
        assert any(name.startswith(part) for name in gradients.reached)
