"""A detector with its trained weights, from a config and a checkpoint."""

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from kd3d.building import building


def build_detector(cfg: Config) -> nn.Module:
    """The detector of a config in eval mode, with random weights and without a download.

    Raises:
        UserError: if the config asks for an unknown type or argument.
    """
    from mmengine.registry import MODELS

    init_default_scope(cfg.get("default_scope", "mmdet"))
    with building(cfg.filename or "config"):
        # a copy: mmdet writes into it (DETR a tensor, which no config file can hold)
        detector: nn.Module = MODELS.build(copy.deepcopy(cfg.model))
    detector.eval()  # a statement: mmdet's LD returns nothing from it
    return detector


def class_names(cfg: Config, checkpoint: Mapping[str, object], detector: nn.Module) -> list[str]:
    """Class names from the checkpoint's meta, the config's metainfo or the dataset class.

    Numbers in their place where none of the three has as many names as the detector has classes.
    """
    if names := _task_names(detector):
        return names
    number = _number_of_classes(detector)
    meta = checkpoint.get("meta")
    dataset_meta = meta.get("dataset_meta") if isinstance(meta, Mapping) else None
    return (
        _names_in(dataset_meta, number)
        or config_classes(cfg, detector)
        or [str(index) for index in range(number)]
    )


def config_classes(cfg: Config, detector: nn.Module) -> list[str]:
    """Class names from the config's metainfo or its dataset class; empty where it has none.

    Args:
        cfg: of the detector.
        detector: whose number of classes counts; one with tasks names them itself.
    """
    from mmengine.registry import DATASETS

    if names := _task_names(detector):
        return names
    number = _number_of_classes(detector)
    dataset = (cfg.get("test_dataloader") or {}).get("dataset") or {}
    given = dataset.get("type")
    with DATASETS.switch_scope_and_registry(cfg.get("default_scope")) as registry:
        kind = registry.get(given) if isinstance(given, str) else given  # or a class
    own = _names_in(dataset.get("metainfo"), number)
    return own or _names_in(getattr(kind, "METAINFO", None), number)


def _head(detector: nn.Module) -> Any:
    owner: Any = getattr(detector, "roi_head", detector)
    return getattr(owner, "pts_bbox_head", None) or owner.bbox_head


def _task_names(detector: nn.Module) -> list[str]:
    """Of a head whose labels count through the classes of its tasks."""
    head = _head(detector)
    if not hasattr(head, "task_heads"):
        return []
    return [str(name) for names in head.class_names for name in names]


def _number_of_classes(detector: nn.Module) -> int:
    head = _head(detector)
    number = int(head.num_classes)
    if hasattr(head, "box_code_size") and not head.use_sigmoid_cls:
        number -= 1  # the background of an Anchor3DHead
    return number


def _names_in(source: object, number: int) -> list[str]:
    """Names of the classes in a dataset's metadata; empty where they are not as many."""
    if not isinstance(source, Mapping):
        return []
    names = source.get("classes") or source.get("CLASSES") or ()
    names = [names] if isinstance(names, str) else list(names)
    return [str(name) for name in names] if len(names) == number else []
