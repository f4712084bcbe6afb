"""A part of a COCO json: few labels, as a fleet has them."""

import random
from pathlib import Path
from typing import Any

from kd3d.errors import UserError
from kd3d.files import expected_json

Coco = dict[str, Any]  # Any: COCO's nested json


def read_coco(path: Path) -> Coco:
    """Reads a COCO json.

    Raises:
        UserError: if it is no JSON, or lacks images, annotations or categories.
    """
    content = expected_json(path, "a COCO json")
    wanted = ("images", "annotations", "categories")
    missing = [key for key in wanted if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(f"{path}: expected a COCO json, but it has no {', '.join(missing)}")
    coco: Coco = content
    return coco


def subset_of_coco(coco: Coco, images: int, seed: int = 0) -> Coco:
    """Chooses images at random, and keeps their annotations and all categories.

    A smaller subset of the same seed is part of a larger one, so that a curve over the number of
    labels adds images and never exchanges them.

    Args:
        coco: the whole set; it is not changed.
        images: how many images to keep.
        seed: decides which.

    Raises:
        UserError: if ``images`` is not between 1 and what the set has.
    """
    total = len(coco["images"])
    if not total:
        raise UserError("the set has no images to choose from")
    if not 1 <= images <= total:
        raise UserError(f"expected between 1 and {total} images, got {images}")
    places = list(range(total))
    random.Random(seed).shuffle(places)
    kept = [coco["images"][place] for place in sorted(places[:images])]
    ids = {image["id"] for image in kept}
    annotations = [entry for entry in coco["annotations"] if entry["image_id"] in ids]
    return {**coco, "images": kept, "annotations": annotations}
