"""Makes the export folder of a detector of images, with inputs to compare it on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from torch import nn

from kd3d.backends.base import Feeds
from kd3d.export import preprocessing
from kd3d.export.folder import write_export
from kd3d.export.manifest import Manifest
from kd3d.export.networks.deployable import deployable
from kd3d.export.open_backend import backend_from_module
from kd3d.export.proof import Exported
from kd3d.export.sample import write_sample
from kd3d.export.splits import split_images

_REAL_IMAGES = 4
_RANDOM_IMAGES = 2


def export_images(
    detector: nn.Module,
    cfg: Config,
    folder: Path,
    *,
    size: Sequence[int] | None = None,
    image_size: Sequence[int] | None = None,
    batch: int | None = None,
    images: Sequence[str | Path] = (),
    **settings: Any,  # Any: opset, classes and source of write_export
) -> Exported:
    """Writes model.onnx, config.py, weights.pth, sample.npz and export.json.

    To compare with are real images, where there are some, and random ones. The first of them is
    the sample.

    Args:
        detector: of MMDetection, with its trained weights.
        cfg: its config.
        folder: to write into.
        size: (H, W) px of the network's input; None is what the test pipeline makes.
        image_size: (H, W) px of an image before padding, see ``deployable``; None is what the test
            pipeline makes, or the whole input where ``size`` is given.
        batch: images a run, None for any number.
        images: files; none of them: some of the test set, if it is here.
        settings: opset, classes and source as of ``write_export``.

    Raises:
        UserError: if the detector or the size cannot be exported, or an image is not there.
    """
    if size is None:
        image_size = image_size or preprocessing.image_size(cfg)
    height, width = size or preprocessing.input_size(cfg)
    size = (height, width)
    module = deployable(detector, image_size=_pair(image_size))
    real = [
        preprocessing.image_input(cfg, detector, path, size)
        for path in images or split_images(cfg, "test", _REAL_IMAGES)
    ]
    manifest = write_export(module, cfg, folder, size=size, batch=batch, **settings)
    manifest = replace(manifest, sample="real" if real else "random")
    feeds: list[Feeds] = [
        {manifest.input_name: image.repeat(manifest.batch or 1, axis=0)} for image in real
    ]
    feeds += random_images(manifest, _RANDOM_IMAGES)
    reference = backend_from_module(module, manifest)
    manifest = write_sample(folder, reference, manifest, feeds[0])
    return Exported(folder, module, manifest, feeds, real=len(real))


def _pair(size: Sequence[int] | None) -> tuple[int, int] | None:
    return None if size is None else (size[0], size[1])


def random_images(manifest: Manifest, count: int) -> list[Feeds]:
    """Network inputs of coloured noise in the range that the preprocessing gives.

    Where the file takes any batch, every second input has two images.
    """
    generator = np.random.default_rng(0)
    mean, std = (manifest.preprocessing[key] for key in ("mean", "std"))
    offset, scale = (np.array(v or d).reshape(-1, 1, 1) for v, d in ((mean, [0.0]), (std, [1.0])))
    shape = (manifest.channels, *manifest.input_size)
    return [
        {
            manifest.input_name: (
                (generator.uniform(0, 255, (batch, *shape)) - offset) / scale
            ).astype(np.float32)
        }
        for batch in (manifest.batch or 1 + index % 2 for index in range(count))
    ]
