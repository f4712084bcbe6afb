"""Device bundles of toy detectors in every precision, made as tools/export.py makes them."""

import copy
from pathlib import Path

from mmengine.config import Config
from torch import nn
from toys import traffic
from toys3d import dataset, lidar_frames, pipeline
from toys_pillars import SOURCE, pillar_config, pillar_detector

from kd3d.backends.bundle import PRECISIONS
from kd3d.export.image_export import export_images
from kd3d.export.pillar_export import export_pillars
from kd3d.export.precisions import add_precision
from kd3d.export.proof import Exported

FRAMES = 20  # all of them calibrate int8
IMAGE_CLASSES = ["car", "person", "bicycle"]
CLOUD_CLASSES = ["car", "truck", "pedestrian"]


def image_bundle(folder: Path, detector: nn.Module, cfg: Config) -> Path:
    """Of a detector of images; its test set lies beside it, so that real images are compared."""
    cfg = copy.deepcopy(cfg)
    annotations = traffic(folder / "data", images=FRAMES)
    cfg.test_dataloader.dataset.update(
        data_root="", ann_file=str(annotations), data_prefix={"img": str(annotations.parent)}
    )
    files = sorted(annotations.parent.glob("*.png"))
    exported = export_images(
        *(detector, cfg, _new(folder / "bundle")),
        size=(64, 96),
        images=files[:4],
        opset=17,
        classes=IMAGE_CLASSES,
        source=SOURCE,
    )
    return _in_all_precisions(exported, cfg, images=files)


def pillar_bundle(folder: Path, name: str = "centerpoint") -> Path:
    """Of a toy detector of points; its data set lies beside it."""
    cfg = pillar_config(name)
    infos = lidar_frames(folder / "data", frames=FRAMES)
    load, _, in_range, *_ = pipeline(augmented=False)
    steps = [load, in_range, {"type": "Pack3DDetInputs", "keys": ["points"]}]
    for split in ("train", "test"):
        settings = dataset(infos, test_mode=True, pipeline=steps)
        cfg[f"{split}_dataloader"] = {"dataset": settings}
    exported = export_pillars(
        *(pillar_detector(cfg), cfg, _new(folder / "bundle")),
        batch=1,
        opset=17,
        classes=CLOUD_CLASSES,
        source=SOURCE,
    )
    return _in_all_precisions(exported, cfg)


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _in_all_precisions(
    exported: Exported, cfg: Config, *, images: list[Path] | None = None
) -> Path:
    for precision in PRECISIONS[1:]:
        exported, _ = add_precision(
            *(exported, precision, cfg, {}), calibration=FRAMES, images=images or []
        )
    return exported.folder
