"""The ground truth of a split in one compact file, so that the tables are parsed once.

The file's name holds a fingerprint of everything it was made from: the whole content of the ten
tables that are read, and the split's scenes. Sizes and times of the tables would not do: a data
set made anew can have the same sizes, and copying changes the times. Hashing runs at the speed of
the disk, on two threads; the huge tables (sample_data, ego_pose) are hashed whole as well, since
every ego position in them moves boxes into or out of range.
"""

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes.boxes import Boxes, GroundTruth
from kd3d.evaluation.nuscenes.splits import scenes_of_split
from kd3d.evaluation.nuscenes.tables import TABLES, ground_truth_from_tables
from kd3d.files import sha256_of, user_cache, write_bytes

_FORMAT = "kd3d nuScenes ground truth 1"  # change it with what the file holds
_FOLDER = ".kd3d"
_PARTS = ("ego_m", "rack_frame", "rack_m")
_BOXES = tuple(field.name for field in dataclasses.fields(Boxes))


def load_ground_truth(dataroot: str | Path, version: str, split: str) -> GroundTruth:
    """The ground truth of a split, from the cache if it is there and whole.

    The cache lies in ``<dataroot>/.kd3d``, or where that cannot be written in
    ``$XDG_CACHE_HOME/kd3d`` (``~/.cache/kd3d``).

    Args:
        dataroot: folder of the data set.
        version: folder of the tables in it, such as "v1.0-trainval".
        split: one of nuScenes' splits, or of ``splits.json`` beside the tables.

    Raises:
        UserError: if tables or split are missing, or have no annotations.
    """
    scenes = evaluated_scenes(dataroot, version, split)
    dataroot = Path(dataroot)
    tables = dataroot / version
    name = f"nuscenes-{version}-{split}-{_fingerprint(tables, scenes)}.npz"
    folders = (dataroot / _FOLDER, user_cache())
    for folder in folders:
        cached = _read(folder / name)
        if cached is not None:
            return cached
    truth = ground_truth_from_tables(tables, scenes)
    if len(truth.boxes) == 0:
        raise UserError(
            f"{tables}: the split {split} has no annotations of the ten classes; scores need some "
            "(nuScenes does not publish those of its test split)"
        )
    for folder in folders:
        if _write(folder / name, truth):
            break
    return truth


def evaluated_scenes(dataroot: str | Path, version: str, split: str) -> list[str]:
    """Names of a split's scenes, found without reading the tables, which have to be there.

    Raises:
        UserError: if tables or split are missing.
    """
    tables = Path(dataroot) / version
    missing = [name for name in TABLES if not (tables / f"{name}.json").is_file()]
    if missing:
        raise UserError(
            f"{tables}: expected the tables of nuScenes, but {missing} are missing; "
            "check data root and version"
        )
    return scenes_of_split(Path(dataroot), version, split)


def _fingerprint(tables: Path, scenes: Sequence[str]) -> str:
    with ThreadPoolExecutor(2) as pool:  # hashing releases the interpreter's lock
        digests = list(
            pool.map(partial(sha256_of, digits=64), [tables / f"{name}.json" for name in TABLES])
        )
    content = json.dumps([_FORMAT, digests, list(scenes)])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _read(path: Path) -> GroundTruth | None:
    """None if the file is missing or not whole: it is made anew then."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            truth = GroundTruth(
                tokens=tuple(str(token) for token in arrays["tokens"]),
                boxes=Boxes(**{name: arrays[f"boxes_{name}"] for name in _BOXES}),
                **{name: arrays[name] for name in _PARTS},
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return truth if len(truth.tokens) == len(truth.ego_m) else None


def _write(path: Path, truth: GroundTruth) -> bool:
    """Whether the folder takes the file; it appears whole or not at all."""
    arrays = {f"boxes_{name}": getattr(truth.boxes, name) for name in _BOXES}
    arrays |= {name: getattr(truth, name) for name in _PARTS}
    arrays["tokens"] = np.array(truth.tokens, dtype=np.str_)
    content = io.BytesIO()
    np.savez(content, **arrays)
    try:
        write_bytes(path, content.getvalue())
    except OSError:
        return False
    return True
