"""sample.npz: one set of inputs, and what PyTorch answers to it in single precision."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from kd3d.backends.base import Array, Backend, Feeds
from kd3d.backends.bundle import HASH_DIGITS, SAMPLE_FILE
from kd3d.export.gate.comparison import detect_of
from kd3d.export.manifest import Manifest
from kd3d.export.pillar_manifest import PillarManifest
from kd3d.files import sha256_of

AnyManifest = TypeVar("AnyManifest", Manifest, PillarManifest)


def write_sample(
    folder: Path,
    reference: Backend,
    manifest: AnyManifest,
    feeds: Feeds,
    *,
    points: Array | None = None,
) -> AnyManifest:
    """Runs the reference once, keeps inputs, outputs and final boxes, and writes export.json.

    Args:
        folder: to write into.
        reference: the PyTorch module.
        manifest: of the folder.
        feeds: inputs by name.
        points: (N, C) of the frame that the first inputs were made of; None for images.

    Returns:
        The manifest with the sample's hash, as it is written.
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
    digest = sha256_of(folder / SAMPLE_FILE, HASH_DIGITS)
    hashed = replace(manifest, sample_sha256=digest)
    hashed.write(folder)
    return hashed
