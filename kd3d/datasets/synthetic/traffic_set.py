"""Traffic scenes as files: a COCO-format set that is complete, or can be completed.

``OUT/images/<split>/000000.jpg``, ``OUT/annotations/instances_<split>.json`` and ``OUT/set.json``,
the settings the set was made with. The annotations of a split are written when all of its images
are there, so a split with annotations is whole and is not made again.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.traffic_scenes import CATEGORIES, Label, render_scene
from kd3d.errors import UserError
from kd3d.files import write_json

JPEG_QUALITY = 92
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TrafficSet:
    """What decides every file of a set.

    Attributes:
        seed: of the whole set.
        train: images of the split, likewise ``val`` and ``test``.
        width: of an image in pixels, likewise ``height``.
        version: raised whenever the drawing changes, so that old files are not taken for new ones.
    """

    seed: int = 0
    train: int = 400
    val: int = 100
    test: int = 100
    width: int = 320
    height: int = 192
    version: int = 2

    @property
    def splits(self) -> dict[str, int]:
        """Images of each split."""
        return {"train": self.train, "val": self.val, "test": self.test}


def make_traffic_set(
    out: Path,
    settings: TrafficSet,
    *,
    overwrite: bool = False,
    progress: Progress = lambda split, done, total: None,
) -> bool:
    """Writes what is missing of a set.

    Args:
        out: folder of the set.
        settings: what to make.
        overwrite: replace a set made with other settings.
        progress: called with split, images done and images in all, after each image.

    Returns:
        Whether anything had to be written.

    Raises:
        UserError: if ``out`` holds something else, or a count or the seed is not possible.
    """
    if min(settings.splits.values()) < 1:
        raise UserError(f"expected at least one image a split, got {settings.splits}")
    if settings.seed < 0:
        raise UserError(f"expected --seed of 0 or more, got {settings.seed}")
    _claim(out, settings, overwrite)
    missing = [split for split in settings.splits if not _is_whole(out, split, settings)]
    for number, split in enumerate(settings.splits):
        if split in missing:
            _write_split(out, split, number, settings, progress)
    return bool(missing)


def _claim(out: Path, settings: TrafficSet, overwrite: bool) -> None:
    """Records the settings in the folder, after a look at what stands there."""
    record = out / "set.json"
    found: Any = None  # Any: whatever JSON is there
    if record.is_file():
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
        except json.JSONDecodeError:
            found = "unreadable settings"
        if found == asdict(settings):
            return
    missing = found is None and out.is_dir() and any(out.iterdir())
    if missing or (isinstance(found, dict) and "train" not in found):  # the driving world's own
        raise UserError(
            f"{out} is no set of this tool (set.json is {'missing' if missing else 'of another'}); "
            "choose another --out"
        )
    if found is not None and not overwrite:
        raise UserError(
            f"{out} holds a set made with {found}, asked for {asdict(settings)}; "
            "choose another --out or replace it with --force"
        )
    for split in settings.splits:
        annotation_file(out, split).unlink(missing_ok=True)
    write_json(record, asdict(settings))


def annotation_file(out: Path, split: str) -> Path:
    """The COCO json of a split."""
    return out / "annotations" / f"instances_{split}.json"


def _is_whole(out: Path, split: str, settings: TrafficSet) -> bool:
    folder = out / "images" / split
    names = {path.name for path in folder.glob("*.jpg")} if folder.is_dir() else set()
    wanted = {_file_name(index) for index in range(settings.splits[split])}
    return annotation_file(out, split).is_file() and wanted <= names


def _write_split(
    out: Path, split: str, number: int, settings: TrafficSet, progress: Progress
) -> None:
    total = settings.splits[split]
    size = (settings.width, settings.height)
    images: list[
        dict[str, Any]
    ] = []  # Any: the fields of a COCO image or annotation differ in type
    annotations: list[dict[str, Any]] = []
    for index in range(total):
        # number * 1000: the splits of one set, and sets of neighbouring seeds, share no scene
        image, labels = render_scene(settings.seed + 1000 * number, index, size)
        _write_image(out / "images" / split / _file_name(index), image)
        images.append(
            {"id": index, "file_name": _file_name(index), "width": size[0], "height": size[1]}
        )
        annotations += [
            {"id": len(annotations) + offset, "image_id": index, **_coco_fields(label)}
            for offset, label in enumerate(labels, start=1)
        ]
        progress(split, index + 1, total)
    categories = [{"id": place, "name": name} for place, name in enumerate(CATEGORIES, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(annotation_file(out, split), content)


def _file_name(index: int) -> str:
    return f"{index:06d}.jpg"


def _write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes a JPEG under a temporary name, then renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(data.tobytes())
    temporary.replace(path)


def _coco_fields(label: Label) -> dict[str, Any]:  # Any: as COCO has them
    x1, y1, x2, y2 = label.box_px
    return {
        "category_id": label.category + 1,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": 0,
    }
