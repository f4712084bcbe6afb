"""Stock hooks and options of mmdet work on a distilled run as on a plain one."""

import pytest
import torch
import toys
from mmengine.config import Config
from mmengine.runner import Runner

import kd3d.distill  # noqa: F401  (registers the hook)


def yolox(width=0.125):
    """A YOLOX too small to be good, with everything of mmdet's own."""
    channels = [int(256 * width), int(512 * width), int(1024 * width)]
    return {
        "type": "YOLOX",
        "data_preprocessor": {
            "type": "DetDataPreprocessor",
            "pad_size_divisor": 32,
            "batch_augments": [
                {
                    "type": "BatchSyncRandomResize",
                    "random_size_range": (64, 96),
                    "size_divisor": 32,
                    "interval": 2,
                }
            ],
        },
        "backbone": {"type": "CSPDarknet", "deepen_factor": 0.33, "widen_factor": width},
        "neck": {
            "type": "YOLOXPAFPN",
            "in_channels": channels,
            "out_channels": channels[0],
            "num_csp_blocks": 1,
        },
        "bbox_head": {
            "type": "YOLOXHead",
            "num_classes": 2,
            "in_channels": channels[0],
            "feat_channels": channels[0],
            "stacked_convs": 1,
        },
        "train_cfg": {"assigner": {"type": "SimOTAAssigner", "center_radius": 2.5}},
        "test_cfg": {"score_thr": 0.01, "nms": {"type": "nms", "iou_threshold": 0.65}},
    }


def teacher(tmp_path, model=None):
    return toys.teacher_config(tmp_path / "teacher.py", model or toys.retinanet(8, 16))


def by_epoch(config: Config, epochs: int) -> Config:
    config.train_cfg = {"type": "EpochBasedTrainLoop", "max_epochs": epochs, "val_interval": 1}
    config.train_dataloader.sampler = {"type": "DefaultSampler", "shuffle": True}
    config.param_scheduler = None
    config.val_dataloader = config.test_dataloader
    config.val_evaluator = config.test_evaluator
    config.val_cfg = {"type": "ValLoop"}
    config.log_processor = {"by_epoch": True}
    return config


def test_ema_best_checkpoint_and_class_check(tmp_path):
    hooks = [
        {"type": "EMAHook", "momentum": 0.1},
        {"type": "NumClassCheckHook"},
        toys.distill_hook(teacher(tmp_path), [toys.neck_pair(), toys.response_pair()]),
    ]
    model = toys.retinanet()
    model["test_cfg"]["score_thr"] = 0.001  # hardly trained, it must still find something
    config = by_epoch(toys.training(tmp_path, model, hooks=hooks), 2)
    config.default_hooks.checkpoint = {
        "type": "CheckpointHook",
        "interval": 1,
        "save_best": "coco/bbox_mAP",
        "rule": "greater",
    }
    runner = Runner.from_cfg(config)
    runner.train()
    best = list((tmp_path / "work").glob("best_coco_bbox_mAP_epoch_*.pth"))
    assert len(best) == 1
    saved = torch.load(best[0], weights_only=True)
    assert saved["state_dict"].keys() == runner.model.state_dict().keys()
    averaged = {
        key.removeprefix("module.") for key in saved["ema_state_dict"] if key.startswith("module.")
    }
    assert averaged == set(runner.model.state_dict())


def test_yolox_mode_switch_reaches_the_student(tmp_path):
    """The hook turns mosaic off and the head's L1 loss on, by ``model.bbox_head``."""
    hooks = [
        {"type": "YOLOXModeSwitchHook", "num_last_epochs": 1, "skip_type_keys": ()},
        toys.distill_hook(teacher(tmp_path, yolox(0.25)), [toys.neck_pair(), toys.response_pair()]),
    ]
    config = by_epoch(toys.training(tmp_path, yolox(), hooks=hooks), 3)
    dataset = config.train_dataloader.dataset
    mixed = {"type": "MultiImageMixDataset", "dataset": dataset, "pipeline": []}
    config.train_dataloader.dataset = mixed
    runner = Runner.from_cfg(config)
    keys = []
    runner.register_hook(toys.Watch(lambda runner, outputs: keys.append(set(outputs))))
    runner.train()
    assert all({"loss_neck", "loss_response"} <= seen for seen in keys)
    assert ["loss_l1" in seen for seen in keys] == [False] * 4 + [True] * 8


def test_pipeline_switch_replaces_the_students_pipeline(tmp_path):
    hooks = [
        {
            "type": "PipelineSwitchHook",
            "switch_epoch": 1,
            "switch_pipeline": [
                {"type": "LoadImageFromFile"},
                {"type": "LoadAnnotations", "with_bbox": True},
                {"type": "Resize", "scale": (96, 96), "keep_ratio": True},
                {"type": "PackDetInputs"},
            ],
        },
        toys.distill_hook(teacher(tmp_path), [toys.neck_pair()]),
    ]
    runner = Runner.from_cfg(by_epoch(toys.training(tmp_path, toys.retinanet(), hooks=hooks), 2))
    sizes = []
    runner.register_hook(toys.WatchBatch(lambda batch: sizes.append(batch["inputs"][0].shape[-1])))
    runner.train()
    assert sizes == [64] * 4 + [96] * 4


def test_learning_rates_by_name_prefix_still_match(tmp_path):
    wrapper = {
        "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9},
        "paramwise_cfg": {"custom_keys": {"backbone": {"lr_mult": 0.1}}},
    }
    rates = {}
    for name, hooks in (
        ("plain", []),
        ("distilled", [toys.distill_hook(teacher(tmp_path), [toys.neck_pair()])]),
    ):
        config = toys.training(
            tmp_path / name,
            toys.retinanet(),
            hooks=hooks,
            optim_wrapper=wrapper,
            param_scheduler=None,
        )
        runner = Runner.from_cfg(config)
        runner.train()
        names = {id(p): n for n, p in runner.model.named_parameters()}
        rates[name] = {
            names[id(parameter)]: group["lr"]
            for group in runner.optim_wrapper.param_groups
            for parameter in group["params"]
            if id(parameter) in names
        }
    assert rates["plain"] == rates["distilled"]
    assert rates["distilled"]["backbone.conv1.weight"] == pytest.approx(0.001)
    assert rates["distilled"]["bbox_head.retina_cls.weight"] == pytest.approx(0.01)


def test_gradient_clipping_and_accumulation(tmp_path):
    wrapper = {
        "optimizer": {"type": "AdamW", "lr": 1e-3},
        "accumulative_counts": 2,
        "clip_grad": {"max_norm": 1.0},
    }
    hooks = [toys.distill_hook(teacher(tmp_path), [toys.neck_pair(), toys.response_pair()])]
    config = toys.training(
        tmp_path, toys.retinanet(), hooks=hooks, optim_wrapper=wrapper, param_scheduler=None
    )
    runner = Runner.from_cfg(config)
    runner.train()
    group = runner.optim_wrapper.param_groups[-1]
    assert group["betas"] == (0.9, 0.999)
    states = [runner.optim_wrapper.optimizer.state[p]["step"] for p in group["params"]]
    assert all(int(step) == 2 for step in states)
