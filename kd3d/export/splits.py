"""Images and point clouds of a config's data sets, where they are on this machine."""

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from kd3d.building import building
from kd3d.export.point_clouds import Points
from kd3d.export.preprocessing import pipeline_steps


def split_images(cfg: Config, split: str, count: int) -> list[Path]:
    """Image files of a split; none if its annotations or one of the images is not here.

    Args:
        cfg: a config of mmdet.
        split: "train", "val" or "test".
        count: images, spread evenly over the set.
    """
    settings = _innermost(cfg, split)
    if settings is None:
        return []
    dataset = _build(cfg, {**settings, "pipeline": []})
    files = [Path(dataset.get_data_info(index)["img_path"]) for index in _spread(dataset, count)]
    return files if all(file.is_file() for file in files) else []


def split_clouds(cfg: Config, split: str, count: int) -> list[Points]:
    """Frames of a split as the test pipeline loads them; none if it is not here.

    Annotations without their point clouds count as not here.

    Args:
        cfg: a config of mmdet3d.
        split: "train", "val" or "test".
        count: frames, spread evenly over the set.
    """
    settings = _innermost(cfg, split)
    if settings is None:
        return []
    steps = [dict(step) for step in pipeline_steps(cfg)]
    dataset = _build(cfg, {**settings, "pipeline": steps, "test_mode": True})
    try:
        return [_points(dataset[index]) for index in _spread(dataset, count)]
    except FileNotFoundError:
        return []


def is_here(cfg: Config, split: str) -> bool:
    """Whether the annotations of a split are on this machine."""
    return _innermost(cfg, split) is not None


def _innermost(cfg: Config, split: str) -> dict[str, Any] | None:
    """Settings of the data set itself, whatever wraps it; None if it is not here."""
    settings = (cfg.get(f"{split}_dataloader") or {}).get("dataset") or {}
    while "ann_file" not in settings:
        inner = settings.get("dataset") or next(iter(settings.get("datasets") or []), None)
        if not isinstance(inner, dict):
            return None
        settings = inner
    annotations = Path(settings.get("data_root") or "") / settings["ann_file"]
    return dict(settings) if annotations.is_file() else None


def _build(cfg: Config, settings: dict[str, Any]) -> Any:
    from mmengine.registry import DATASETS

    init_default_scope(cfg.get("default_scope", "mmdet"))
    with building(cfg.filename or "config"):
        return DATASETS.build(settings)


def _spread(dataset: Any, count: int) -> list[int]:
    return [int(index) for index in np.linspace(0, len(dataset) - 1, min(count, len(dataset)))]


def _points(sample: Any) -> Points:
    """Of a packed sample; a pipeline for test-time augmentation gives a list of one view each."""
    points = sample["inputs"]["points"]
    points = points[0] if isinstance(points, list) else points
    array: Points = points.cpu().numpy().astype(np.float32)
    return array
