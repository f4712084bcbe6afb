"""Pictures of the test split: ground truth beside what teacher, baseline and student found."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from kd3d.report.summary import PICTURED_ROLES, Group, Summary

MAX_IMAGES = 6
IMAGE_WIDTH_PX = 640
MIN_SCORE = 0.3
MIN_IOU = 0.5

Json = Mapping[str, Any]  # Any: parsed COCO JSON


@dataclass(frozen=True)
class Match:
    """Boxes of one image split by a greedy match of equal categories at IoU >= 0.5."""

    found: list[Json]
    false: list[Json]
    missed: list[Json]


def sample_pictures(summary: Summary) -> tuple[list[str], str]:
    """Pictures of up to six images, spread evenly over the test split.

    Returns:
        (pictures as HTML, "") or ([], what is missing).
    """
    groups = [summary.groups[role] for role in PICTURED_ROLES if role in summary.groups]
    read = {group.role: _predictions(group) for group in groups}
    found = {role: boxes for role, boxes in read.items() if boxes is not None}
    if not found:
        return [], (
            "No predictions lie beside the accuracy records; tools/test.py CONFIG CHECKPOINT "
            "writes them."
        )
    record = next(iter(groups[0].runs.values()))
    truth_path = Path(record.dataset.get("ann_file", ""))
    if not truth_path.is_file():
        return [], f"The annotations {truth_path} are not here, so no images are shown."
    truth = json.loads(truth_path.read_text(encoding="utf-8"))
    prefix = Path(record.dataset.get("img_prefix", ""))
    present = [i for i in truth["images"] if (prefix / str(i.get("file_name"))).is_file()]
    if not present:
        return [], f"The images below {prefix} are not here, so none is shown."
    names = {category["id"]: str(category["name"]) for category in truth["categories"]}
    chosen = [present[n * len(present) // MAX_IMAGES] for n in range(MAX_IMAGES)]
    pictures = []
    for image in {image["id"]: image for image in chosen}.values():
        objects = _of_image(truth["annotations"], image["id"])
        results = {role: _of_image(boxes, image["id"]) for role, boxes in found.items()}
        pictures.append(_picture(image, prefix, objects, results, names))
    return pictures, ""


def match_boxes(objects: Sequence[Json], boxes: Sequence[Json]) -> Match:
    """Gives each box, the highest score first, the free object of its category it fits best.

    Args:
        objects: COCO annotations of one image.
        boxes: COCO results of that image.
    """
    free = list(objects)
    found, false = [], []
    for box in sorted(boxes, key=lambda b: -float(b["score"])):
        fitting = [o for o in free if o["category_id"] == box["category_id"]]
        best = max(fitting, key=lambda o: iou(o["bbox"], box["bbox"]), default=None)
        if best is not None and iou(best["bbox"], box["bbox"]) >= MIN_IOU:
            free.remove(best)
            found.append(box)
        else:
            false.append(box)
    return Match(found, false, free)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x, y, width, height).

    >>> iou([0, 0, 2, 1], [1, 0, 2, 1]) == 1 / 3
    True
    """
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = a[2] * a[3] + b[2] * b[3] - shared
    return shared / union if union > 0 else 0.0


def _predictions(group: Group) -> list[Json] | None:
    """COCO results of the group's first seed, without the uncertain ones."""
    path = group.first_predictions()
    if path is None:
        return None
    boxes = json.loads(path.read_text(encoding="utf-8"))
    return [box for box in boxes if box["score"] >= MIN_SCORE]


def _of_image(boxes: Sequence[Json], image_id: int | str) -> list[Json]:
    return [b for b in boxes if b["image_id"] == image_id and not b.get("iscrowd")]


def _picture(
    image: Json,
    prefix: Path,
    objects: list[Json],
    boxes: Mapping[str, list[Json]],
    names: Mapping[int, str],
) -> str:
    """One image as a row of panels; the pixels are embedded once and used by all of them."""
    data, width, height = _jpeg(prefix / image["file_name"])
    key = f"image-{image['id']}"
    definition = (
        f'<svg width="0" height="0" class="hidden"><defs><image id="{escape(key)}" '
        f'width="{width}" height="{height}" href="data:image/jpeg;base64,{data}"/></defs></svg>'
    )
    truth = "".join(_box(o, "truth", names) for o in objects)
    panels = [_panel(key, width, height, truth, f"ground truth: {len(objects)} objects")]
    for role, results in boxes.items():
        match = match_boxes(objects, results)
        drawn = [_box(b, "truth missed", names) for b in match.missed]
        drawn += [_box(b, f"role-{role} false", names) for b in match.false]
        drawn += [_box(b, f"role-{role}", names) for b in match.found]
        caption = f"{role}: {len(match.found)} of {len(objects)} found, {len(match.false)} false"
        panels.append(_panel(key, width, height, "".join(drawn), caption))
    layout = "wide" if width > 1.8 * height else "tall"
    return f'{definition}<div class="panels {layout}">{"".join(panels)}</div>'


def _panel(key: str, width: int, height: int, boxes: str, caption: str) -> str:
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(caption)}">'
        f'<use href="#{escape(key)}"/>{boxes}</svg><figcaption>{escape(caption)}</figcaption>'
        "</figure>"
    )


def _box(box: Json, style: str, names: Mapping[int, str]) -> str:
    x, y, width, height = (float(value) for value in box["bbox"])
    score = f" {box['score']:.2f}" if "score" in box else ""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    name = names.get(box["category_id"], "?")
    # a dark line below makes a solid one visible on bright pixels, and would fill dashes
    halo = "" if style.endswith(("missed", "false")) else f'<rect class="halo" {place}/>'
    return f'{halo}<rect class="box {style}" {place}><title>{escape(name + score)}</title></rect>'


def _jpeg(path: Path) -> tuple[str, int, int]:
    """The image as base64 JPEG, scaled down to the page, and its original size in pixels."""
    with Image.open(path) as picture:
        width, height = picture.size
        small = picture.convert("RGB")
        small.thumbnail((IMAGE_WIDTH_PX, IMAGE_WIDTH_PX))
        stream = io.BytesIO()
        small.save(stream, format="JPEG", quality=80)
    return base64.b64encode(stream.getvalue()).decode("ascii"), width, height
