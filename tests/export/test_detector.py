import copy

import pytest
import torch
from mmdet.datasets import CocoDataset
from toys_families import tiny_config
from toys_pillars import pillar_config

from kd3d.checkpoints import load_weights
from kd3d.errors import UserError
from kd3d.export.detector import build_detector, class_names


def test_weights_are_loaded_whole(build):
    detector, cfg = build("retinanet")
    fresh = build_detector(cfg)
    load_weights(fresh, detector.state_dict(), where="weights.pth")
    for name, value in detector.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value)
    assert not fresh.training


def test_weights_of_another_detector_are_named(build):
    detector, _ = build("retinanet")
    weights = dict(detector.state_dict())
    weights["backbone.conv1.weight"] = torch.zeros(1)
    del weights["neck.lateral_convs.0.conv.bias"]
    weights["head.extra"] = torch.zeros(1)
    with pytest.raises(UserError) as error:
        load_weights(detector, weights, where="other.pth")
    text = str(error.value)
    assert text.startswith("other.pth does not fit RetinaNet of its config")
    assert "missing: 1 (1 in neck), such as neck.lateral_convs.0.conv.bias" in text
    assert "unexpected: 1 (1 in head), such as head.extra" in text
    expected = tuple(detector.backbone.conv1.weight.shape)
    assert f"shape: backbone.conv1.weight is (1,), expected {expected}" in text


def test_config_stays_as_it_was():
    """DETRHead puts a tensor in its place, which a config file cannot be read back with."""
    cfg = tiny_config("detr")
    build_detector(cfg)
    assert "tensor(" not in cfg.pretty_text


def test_unknown_type_in_config_is_a_user_error(build):
    cfg = build("retinanet")[1].copy()
    cfg.model = {"type": "NoSuchDetector"}
    with pytest.raises(UserError, match="NoSuchDetector"):
        build_detector(cfg)


def test_class_names_from_checkpoint_config_or_numbers(build):
    detector, cfg = build("retinanet")
    meta = {"meta": {"dataset_meta": {"classes": ("x", "y", "z")}}}
    assert class_names(cfg, meta, detector) == ["x", "y", "z"]
    assert class_names(cfg, {}, detector) == ["car", "person", "bicycle"]
    cfg = copy.deepcopy(cfg)
    cfg.test_dataloader.dataset.metainfo = {}  # CocoDataset has 80 names, the detector 3 classes
    assert class_names(cfg, {}, detector) == ["0", "1", "2"]
    three = type("Three", (CocoDataset,), {"METAINFO": {"classes": ("x", "y", "z")}})
    cfg.test_dataloader.dataset.type = three
    assert class_names(cfg, {}, detector) == ["x", "y", "z"]


def test_class_names_of_a_head_with_tasks():
    cfg = pillar_config("centerpoint")
    names = [n for task in cfg.model.pts_bbox_head.tasks for n in task.class_names]
    assert (
        class_names(cfg, {"meta": {"dataset_meta": {"classes": ["x"]}}}, build_detector(cfg))
        == names
    )
