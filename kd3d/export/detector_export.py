"""Makes the export folder of any detector, from a config and a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from kd3d.checkpoints import load_weights, local_checkpoint
from kd3d.errors import UserError
from kd3d.evaluation.accuracy import config_hash
from kd3d.export.detector import build_detector, class_names
from kd3d.export.image_export import export_images
from kd3d.export.networks.pillar_deployable import is_pillar_detector
from kd3d.export.pillar_export import export_pillars
from kd3d.export.proof import Exported
from kd3d.files import sha256_of


def export_detector(
    cfg: Config,
    checkpoint: Mapping[str, Any],  # Any: what a training run saved
    folder: Path,
    *,
    names: tuple[str, str],
    opset: int,
    batch: int | None = None,
    pillars: int | None = None,
    **of_images: Any,  # Any: sizes and paths
) -> Exported:
    """Fills a folder with the fp32 file and all that goes with it.

    Args:
        cfg: of the detector.
        checkpoint: with its weights.
        folder: to write into.
        names: paths of config and checkpoint, for export.json.
        opset: of the ONNX file.
        batch: a run; None is any number of images, or one frame.
        pillars: of every frame, filled up or cut off; None leaves their number free.
        of_images: size, image_size and images of ``export_images``; of no use for points.

    Raises:
        UserError: if the detector cannot be exported so, or a file is not there.
    """
    config, weights = names
    detector = build_detector(cfg)
    load_weights(detector, checkpoint["state_dict"], where=str(weights))
    settings: dict[str, Any] = {
        "opset": opset,
        "classes": class_names(cfg, checkpoint, detector),
        "source": {
            "config": config,
            "config_hash": config_hash(cfg),
            "checkpoint": weights,
            "checkpoint_hash": sha256_of(local_checkpoint(weights)),
        },
    }
    if not is_pillar_detector(detector):
        if pillars is not None:
            raise UserError("--pillars is for detectors of points; this one reads images")
        return export_images(detector, cfg, folder, batch=batch, **settings, **of_images)
    if any(of_images.values()):
        raise UserError(
            "--input-size, --image-size and --image are for images; this detector reads points"
        )
    return export_pillars(detector, cfg, folder, batch=batch or 1, pillars=pillars, **settings)
