"""Point clouds to prove and to time an export with."""

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from numpy.typing import NDArray

from kd3d.building import building

Points = NDArray[np.float32]
_BEAMS, _STEPS = 32, 1080  # of the LiDAR that the synthetic clouds imitate


def dataset_clouds(cfg: Config, count: int = 2) -> list[Points]:
    """Frames of the config's test set as its test pipeline loads them; none if it is not here.

    Annotations without their point clouds count as not here.

    Args:
        cfg: a config of mmdet3d.
        count: frames, spread evenly over the set.
    """
    from mmengine.registry import DATASETS

    loader = cfg.get("test_dataloader") or {}
    settings = loader.get("dataset")
    if not settings or not _annotations_exist(settings):
        return []
    init_default_scope(cfg.get("default_scope", "mmdet3d"))
    with building(cfg.filename or "config"):
        dataset = DATASETS.build(settings)
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)
    try:
        return [_points(dataset[int(index)]) for index in chosen]
    except FileNotFoundError:
        return []


def synthetic_cloud(features: int, seed: int = 0) -> Points:
    """(N, features) points of a street: flat ground, and things of random distance and height.

    32 beams of 1080 steps from 1.8 m above the ground, as many points as one sweep of a real
    LiDAR. x y z in metres, the third feature on: intensity in [0, 1], then 0.
    """
    generator = np.random.default_rng(seed)
    azimuth = np.linspace(-np.pi, np.pi, _STEPS, endpoint=False)
    elevation = np.deg2rad(np.linspace(-30, 10, _BEAMS))[:, None]
    ground = np.where(elevation < 0, 1.8 / np.maximum(np.tan(-elevation), 1e-6), 1e3)
    things = generator.uniform(3, 70, 60), generator.uniform(-1.5, 4, 60)
    sector = np.sort(generator.integers(0, 60, _STEPS))
    distance, top = things[0][sector], things[1][sector]
    hits_thing = (distance < ground) & (distance * np.tan(elevation) < top)
    reach = np.where(hits_thing, distance, ground) + generator.normal(0, 0.02, ground.shape)
    xyz = np.stack([reach * np.cos(azimuth), reach * np.sin(azimuth), reach * np.tan(elevation)])
    points = np.zeros((xyz[0].size, features), dtype=np.float32)
    points[:, :3] = xyz.reshape(3, -1).T
    if features > 3:
        points[:, 3] = generator.uniform(0, 1, len(points))
    near: Points = points[np.hypot(points[:, 0], points[:, 1]) < 100]
    return near


def _annotations_exist(settings: Any) -> bool:
    """Of the dataset itself, or of the one that it wraps."""
    while "ann_file" not in settings and isinstance(settings.get("dataset"), dict):
        settings = settings["dataset"]
    path = settings.get("ann_file")
    return bool(path) and (Path(settings.get("data_root") or "") / path).is_file()


def _points(sample: Any) -> Points:
    """Of a packed sample; a pipeline for test-time augmentation gives a list of one view each."""
    points = sample["inputs"]["points"]
    points = points[0] if isinstance(points, list) else points
    array: Points = points.cpu().numpy().astype(np.float32)
    return array
