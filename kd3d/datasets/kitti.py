"""KITTI object labels as COCO annotations (Geiger et al., 2012).

Boxes keep KITTI's pixels: zero-based, ``bbox = [left, top, right - left, bottom - top]``, cut at
the image's border. What KITTI's own evaluation neither rewards nor punishes becomes a COCO region
to ignore (``iscrowd = 1``): ``DontCare`` for every category, ``Person_sitting`` for pedestrians.
mmdet skips such regions in training, and COCO evaluation leaves detections inside them uncounted.
``Truck``, ``Tram`` and ``Misc`` get no annotation: they are background, as in KITTI's evaluation.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from PIL import Image

from kd3d.errors import UserError

CATEGORIES = ("Car", "Van", "Cyclist", "Pedestrian")
IGNORED_FOR = {"DontCare": CATEGORIES, "Person_sitting": ("Pedestrian",)}
BACKGROUND = ("Truck", "Tram", "Misc")
FIELDS = 15


@dataclass(frozen=True)
class KittiObject:
    """The part of a label line that a 2D detector needs.

    Attributes:
        kind: KITTI's type, such as ``Car`` or ``DontCare``.
        box_px: left, top, right, bottom.
    """

    kind: str
    box_px: tuple[float, float, float, float]


def read_labels(path: Path) -> list[KittiObject]:
    """Reads a ``label_2`` file.

    Raises:
        UserError: if a line has too few fields, an unknown type, or a box that is none.
    """
    objects = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            objects.append(_parse_line(line, f"{path}:{number}"))
    return objects


def _parse_line(line: str, where: str) -> KittiObject:
    fields = line.split()
    if len(fields) < FIELDS:
        raise UserError(f"{where}: expected {FIELDS} fields of a KITTI label, got {len(fields)}")
    known = (*CATEGORIES, *IGNORED_FOR, *BACKGROUND)
    if fields[0] not in known:
        raise UserError(f"{where}: unknown type '{fields[0]}', expected one of {', '.join(known)}")
    try:
        left, top, right, bottom = (float(field) for field in fields[4:8])
    except ValueError:
        raise UserError(f"{where}: expected four numbers of a box, got {fields[4:8]}") from None
    if right < left or bottom < top:
        raise UserError(f"{where}: expected left <= right and top <= bottom, got {fields[4:8]}")
    return KittiObject(fields[0], (left, top, right, bottom))


def parse_frames(text: str) -> list[int]:
    """Reads which frames make a split.

    Args:
        text: ranges with both ends included, such as ``0-109`` or ``0-9,20,30-39``; or the path
            of a file with one frame number a line, such as KITTI's ``ImageSets/train.txt``.

    Raises:
        UserError: if it is neither, or names a frame twice.
    """
    path = Path(text)
    items = path.read_text(encoding="utf-8").split() if path.is_file() else text.split(",")
    frames: list[int] = []
    for item in items:
        bounds = re.fullmatch(r"(\d+)(?:-(\d+))?", item)
        if bounds is None:
            raise UserError(
                f"frames '{text}': no such file, and '{item}' is no range; "
                "expected ranges such as 0-109,120 or a file with one frame a line"
            )
        first, last = bounds.groups()
        frames += range(int(first), int(last or first) + 1)
    if not frames or len(set(frames)) < len(frames):
        raise UserError(f"frames '{text}': expected at least one frame and none twice")
    return frames


def parse_splits(texts: Mapping[str, str]) -> dict[str, list[int]]:
    """Reads the frames of each split, in the form of ``parse_frames``.

    Raises:
        UserError: if a text is no frames, or two splits share some: what is measured on frames
            of the training tells nothing.
    """
    splits = {split: parse_frames(text) for split, text in texts.items()}
    for one, other in combinations(splits, 2):
        shared = sorted(set(splits[one]) & set(splits[other]))
        if shared:
            raise UserError(
                f"{one} and {other} share {len(shared)} frames, {shared[0]} the first; "
                "give each frame to one of them"
            )
    return splits


def coco_from_kitti(root: Path, frames: list[int]) -> dict[str, Any]:  # Any: COCO's nested json
    """Converts frames of a folder in KITTI's object layout.

    Args:
        root: holds ``image_2`` and ``label_2``.
        frames: numbers of the frames; each is also its COCO image id.

    Returns:
        COCO json; file names are relative to ``image_2``. Category ids are 1, 2, ... in the order
        of ``CATEGORIES``.

    Raises:
        UserError: if a frame has no image or no label file, or a label is malformed.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for frame in frames:
        image = image_entry(root, frame)
        images.append(image)
        label = root / "label_2" / f"{frame:06d}.txt"
        if not label.is_file():
            raise UserError(f"{label}: no such file, but frame {frame} was asked for")
        for kitti_object in read_labels(label):
            for fields in _annotations(kitti_object, image["width"], image["height"]):
                annotations.append({"id": len(annotations) + 1, "image_id": frame, **fields})
    categories = [{"id": place, "name": name} for place, name in enumerate(CATEGORIES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def image_entry(root: Path, frame: int) -> dict[str, Any]:
    """COCO's entry of an image: id, file name, width and height in pixels.

    Raises:
        UserError: if there is no such image.
    """
    for suffix in (".png", ".jpg"):
        path = root / "image_2" / f"{frame:06d}{suffix}"
        if path.is_file():
            with Image.open(path) as image:
                width, height = image.size
            return {"id": frame, "file_name": path.name, "width": width, "height": height}
    raise UserError(
        f"{root / 'image_2' / f'{frame:06d}'}.png or .jpg: no such file; "
        "expected KITTI's object layout: image_2/000000.png and label_2/000000.txt"
    )


def _annotations(kitti_object: KittiObject, width: int, height: int) -> Iterator[dict[str, Any]]:
    """The COCO entries of one label: one, or one a category for a region to ignore, or none."""
    left, top, right, bottom = kitti_object.box_px
    left, right = (min(max(edge, 0.0), float(width)) for edge in (left, right))
    top, bottom = (min(max(edge, 0.0), float(height)) for edge in (top, bottom))
    if right <= left or bottom <= top:
        return
    ignored = IGNORED_FOR.get(kitti_object.kind, ())
    names = ignored or tuple(name for name in CATEGORIES if name == kitti_object.kind)
    for name in names:
        yield {
            "category_id": CATEGORIES.index(name) + 1,
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": int(bool(ignored)),
        }
