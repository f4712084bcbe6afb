"""Real inputs to find the ranges of INT8 with: the training set through the test pipeline."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from mmengine.config import Config

from kd3d.backends.base import Feeds
from kd3d.errors import UserError
from kd3d.export.manifest import Manifest
from kd3d.export.preprocessing import image_input
from kd3d.export.proof import Exported
from kd3d.export.splits import split_clouds, split_images
from kd3d.export.voxelization import network_feeds

SPLITS = ("train", "val")  # the first one that is on this machine


class Frames(Sequence[Feeds]):
    """Inputs that are made when they are asked for: all of them would fill the memory.

    Args:
        count: how many.
        make: the inputs of one run by its index.
    """

    def __init__(self, count: int, make: Callable[[int], Feeds]) -> None:
        self._count = count
        self._make = make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Feeds: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Feeds]: ...
    def __getitem__(self, index: int | slice) -> Feeds | Sequence[Feeds]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._make(index % self._count)


def calibration_feeds(
    exported: Exported, cfg: Config, *, count: int, images: Sequence[str | Path] = ()
) -> Sequence[Feeds]:
    """Inputs of real images or frames, spread evenly over the training (or validation) set.

    Args:
        exported: what they are for.
        cfg: its config.
        count: images or frames; fewer where the set has fewer.
        images: files to take instead of the set.

    Raises:
        UserError: if neither set is on this machine and no images are given.
    """
    if count < 1:
        raise UserError(f"--calibration {count}: expected at least 1 frame")
    if isinstance(exported.manifest, Manifest):
        return _of_images(exported, exported.manifest, cfg, count, images)
    clouds = next((found for split in SPLITS if (found := split_clouds(cfg, split, count))), None)
    if not clouds:
        raise _nothing_here(cfg, "point clouds")
    grid, batch = exported.manifest.voxelization, exported.manifest.batch
    return Frames(
        len(clouds),
        lambda first: network_feeds(
            [clouds[(first + offset) % len(clouds)] for offset in range(batch)], grid
        ),
    )


def _of_images(
    exported: Exported,
    manifest: Manifest,
    cfg: Config,
    count: int,
    images: Sequence[str | Path],
) -> Sequence[Feeds]:
    files: list[str | Path] = list(images)[:count]
    for split in SPLITS:
        files = files or [*split_images(cfg, split, count)]
    if not files:
        raise _nothing_here(cfg, "images")
    detector, size = exported.module.detector, manifest.input_size

    def make(first: int) -> Feeds:
        chosen = [files[(first + offset) % len(files)] for offset in range(manifest.batch or 1)]
        parts = [image_input(cfg, detector, path, size) for path in chosen]
        return {manifest.input_name: np.concatenate(parts)}

    return Frames(len(files), make)


def _nothing_here(cfg: Config, what: str) -> UserError:
    roots: list[Any] = [
        ((cfg.get(f"{split}_dataloader") or {}).get("dataset") or {}).get("data_root")
        for split in SPLITS
    ]
    also = " or give files with --image" if what == "images" else ""
    return UserError(
        f"int8 needs real {what} to calibrate on, but those of the config's training and "
        f"validation set are not here (data_root {roots[0]!r}, {roots[1]!r}); put them there, set "
        f"--cfg-options train_dataloader.dataset.data_root=...{also}"
    )
