"""2D boxes of what shows in the images, in COCO's format, for the ten classes of detection."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kd3d.datasets.synthetic.nuscenes.cameras import HEIGHT_PX, WIDTH_PX
from kd3d.datasets.synthetic.nuscenes.catalogue import CLASSES
from kd3d.datasets.synthetic.nuscenes.infos import CLASS_NAMES
from kd3d.datasets.synthetic.nuscenes.scene import Actor

if TYPE_CHECKING:  # compiling the renderer takes time that LiDAR-only sets do not need
    from kd3d.datasets.synthetic.nuscenes.photographs import Photograph

COCO = "coco"  # where rows of images stand beside nuScenes' tables
MIN_SIDE_PX = 8.0  # smaller boxes are left out
MIN_VISIBLE = 0.1  # of the object's pixels in the image; what is hidden more is left out
Row = dict[str, Any]  # Any: COCO's fields differ in type


def image_row(file_name: str, token: str, photograph: "Photograph", actors: Sequence[Actor]) -> Row:
    """An image and its boxes.

    Args:
        file_name: relative to the root of the set.
        token: of the image in ``sample_data``.
        photograph: what the camera saw.
        actors: of the scene.

    Returns:
        ``image`` and ``annotations`` as COCO has them, without ids.
    """
    annotations = []
    for actor, (left, top, right, bottom) in sorted(photograph.boxes_px.items()):
        name = CLASSES.get(actors[actor].category)
        share = photograph.visible_px[actor] / max(photograph.alone_px[actor], 1)
        if name is None or share < MIN_VISIBLE or min(right - left, bottom - top) < MIN_SIDE_PX:
            continue
        annotations.append(
            {
                "category_id": 1 + CLASS_NAMES.index(name),
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top),
                "iscrowd": 0,
            }
        )
    image = {"file_name": file_name, "width": WIDTH_PX, "height": HEIGHT_PX, "token": token}
    return {"image": image, "annotations": annotations}


def write_coco(path: Path, rows: Sequence[Row]) -> None:
    """Writes images and boxes; ids follow the order of the rows.

    Args:
        path: of the JSON file; its folder exists.
        rows: of :func:`image_row`.
    """
    images = [{"id": place, **row["image"]} for place, row in enumerate(rows, start=1)]
    boxes = [
        {"image_id": place, **box}
        for place, row in enumerate(rows, start=1)
        for box in row["annotations"]
    ]
    content = {
        "info": {"description": "Synthetic street, made by kd3d; no camera ever saw it"},
        "images": images,
        "annotations": [{"id": place, **box} for place, box in enumerate(boxes, start=1)],
        "categories": [{"id": place, "name": name} for place, name in enumerate(CLASS_NAMES, 1)],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
