"""sample.npz: one set of inputs, and what PyTorch answers to it in single precision."""

from pathlib import Path

import numpy as np

from kd3d.backends.base import Array, Backend, Feeds
from kd3d.backends.bundle import SAMPLE_FILE
from kd3d.export.comparison import detect_of
from kd3d.export.manifest import Manifest
from kd3d.export.pillar_manifest import PillarManifest


def write_sample(
    folder: Path,
    reference: Backend,
    manifest: Manifest | PillarManifest,
    feeds: Feeds,
    *,
    points: Array | None = None,
) -> Path:
    """Runs the reference once and keeps inputs, outputs and final boxes.

    Args:
        folder: to write into.
        reference: the PyTorch module.
        manifest: of the folder.
        feeds: inputs by name.
        points: (N, C) of the frame that the first inputs were made of; None for images.
    """
    with reference:
        outputs = reference.infer(feeds)
    boxes, scores, labels = detect_of(manifest)(outputs)[0]
    arrays: dict[str, Array] = {
        **{f"input/{name}": array for name, array in feeds.items()},
        **{f"output/{name}": array for name, array in outputs.items()},
        "boxes": boxes,
        "scores": scores,
        "labels": labels,
    }
    if points is not None:
        arrays["points"] = points
    np.savez_compressed(folder / SAMPLE_FILE, **arrays)
    return folder / SAMPLE_FILE
