"""A detector with its trained weights, from a config and a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from kd3d.building import building
from kd3d.checkpoints import check_weights_fit


def build_detector(cfg: Config) -> nn.Module:
    """The detector of a config in eval mode, with random weights and without a download.

    Raises:
        UserError: if the config asks for an unknown type or argument.
    """
    from mmengine.registry import MODELS

    init_default_scope(cfg.get("default_scope", "mmdet"))
    with building(cfg.filename or "config"):
        detector: nn.Module = MODELS.build(cfg.model)
    return detector.eval()


def load_weights(detector: nn.Module, weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Loads every weight, or raises the UserError of ``check_weights_fit``.

    Args:
        detector: receives the weights.
        weights: state dict with exactly the detector's keys.
        source: of the weights, for the message.
    """
    check_weights_fit(detector, weights, where=str(source))
    detector.load_state_dict(dict(weights))


def class_names(cfg: Config, checkpoint: Mapping[str, object], detector: nn.Module) -> list[str]:
    """Class names from the checkpoint's meta, the config's metainfo or the dataset class.

    Numbers in their place where none of the three has as many names as the detector has classes.
    """
    from mmengine.registry import DATASETS

    owner: Any = getattr(detector, "roi_head", detector)
    head: Any = getattr(owner, "pts_bbox_head", None) or owner.bbox_head
    if hasattr(head, "task_heads"):  # its labels count through the classes of its tasks
        return [str(name) for names in head.class_names for name in names]
    number = int(head.num_classes)
    if hasattr(head, "box_code_size") and not head.use_sigmoid_cls:
        number -= 1  # the background of an Anchor3DHead
    meta = checkpoint.get("meta")
    dataset_meta = meta.get("dataset_meta") if isinstance(meta, Mapping) else None
    dataset = (cfg.get("test_dataloader") or {}).get("dataset") or {}
    with DATASETS.switch_scope_and_registry(None) as registry:  # of the config's default scope
        kind = registry.get(str(dataset["type"])) if "type" in dataset else None
    for source in (dataset_meta, dataset.get("metainfo"), getattr(kind, "METAINFO", None)):
        if isinstance(source, Mapping):
            names = source.get("classes") or source.get("CLASSES") or ()
            names = [names] if isinstance(names, str) else list(names)
            if len(names) == number:
                return [str(name) for name in names]
    return [str(index) for index in range(number)]
