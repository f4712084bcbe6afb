"""COCO box metrics as a function of files: average precision in percent, in all and per class.

faster-coco-eval is the default: equal to pycocotools on the published example (a test compares
them value by value) and about four times as fast on it. pycocotools remains the reference.
"""

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import UserError
from kd3d.files import expected_json

BACKENDS = ("faster-coco-eval", "pycocotools")
MAX_BOXES_PER_IMAGE = 100

Json = Mapping[str, Any]  # Any: parsed COCO JSON
ImageId = int | str


@dataclass(frozen=True)
class BoxAccuracy:
    """Average precision in percent; what has no ground truth is left out.

    Attributes:
        metrics: AP (mean over IoU 0.50 to 0.95), AP50, AP75, and APs, APm, APl (by box area).
        per_class: class name -> AP and AP50.
    """

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]]


def evaluate_boxes(
    ground_truth: str | Path | Json,
    results: str | Path | Sequence[Json],
    *,
    backend: str = BACKENDS[0],
) -> BoxAccuracy:
    """COCO's box metrics, with at most 100 boxes an image.

    Args:
        ground_truth: a COCO annotation file or its content. All its images count, whose ids are
            numbers or strings, and the categories it lists; annotations of others are ignored.
        results: a COCO result file or its content: image_id, category_id, bbox (x, y, width,
            height in pixels), score. It may be empty.
        backend: "faster-coco-eval" or "pycocotools".

    Raises:
        UserError: if a file is not in COCO's format, or a result names an image or category
            that the ground truth does not have.
    """
    truth = read_ground_truth(ground_truth)
    found = _content(results)
    where = str(results) if isinstance(results, (str, Path)) else "results"
    _check_results(truth, found, where)
    coco_class, evaluation_class = _classes(backend)
    # Both libraries sort the ids they are given, so the columns of their answer follow the ids.
    categories = sorted(truth["categories"], key=lambda category: int(category["id"]))
    numbers = _image_numbers(truth)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        evaluation = evaluation_class(
            _index(coco_class, truth, truth["annotations"], numbers),
            _index(coco_class, truth, found, numbers),
            "bbox",
        )
        evaluation.params.catIds = [category["id"] for category in categories]
        evaluation.params.imgIds = list(numbers.values())
        evaluation.params.maxDets = [1, 10, MAX_BOXES_PER_IMAGE]
        evaluation.evaluate()
        evaluation.accumulate()
    return _accuracy(evaluation.eval["precision"], [category["name"] for category in categories])


def read_ground_truth(source: str | Path | Json) -> Json:
    """Reads COCO annotations and checks that they are that.

    Raises:
        UserError: if the file is not JSON, or has no images, annotations or categories.
    """
    truth = _content(source)
    where = str(source) if isinstance(source, (str, Path)) else "ground truth"
    if not isinstance(truth, Mapping):
        raise UserError(f"{where}: expected a COCO annotation object, got {type(truth).__name__}")
    missing = [key for key in ("images", "annotations", "categories") if key not in truth]
    if missing:
        raise UserError(f"{where}: expected COCO annotations, but {missing} are missing")
    return truth


def _content(source: Any) -> Any:  # Any: a file's path, or parsed JSON
    return expected_json(source, "COCO JSON") if isinstance(source, (str, Path)) else source


def _check_results(truth: Json, results: Sequence[Json], where: str) -> None:
    if not isinstance(results, Sequence):
        raise UserError(f"{where}: expected a list of COCO results, got {type(results).__name__}")
    allowed = {
        "image_id": {image["id"] for image in truth["images"]},
        "category_id": {category["id"] for category in truth["categories"]},
    }
    for number, result in enumerate(results):
        for key in ("bbox", "score", *allowed):
            if key not in result:
                raise UserError(f"{where}: result {number} has no {key!r}; got {sorted(result)}")
        for key, ids in allowed.items():
            if result[key] not in ids:
                raise UserError(
                    f"{where}: result {number} has {key} {result[key]!r}, which the ground truth "
                    f"does not have ({len(ids)} known, such as {_sorted(ids)[:3]}); "
                    "were these results made on this split?"
                )


def _classes(backend: str) -> tuple[Any, Any]:  # Any: the two libraries are untyped
    if backend == "faster-coco-eval":
        from faster_coco_eval import COCO, COCOeval_faster

        return COCO, COCOeval_faster
    if backend == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    raise UserError(f"evaluation backend: expected one of {list(BACKENDS)}, got {backend!r}")


def _image_numbers(truth: Json) -> dict[ImageId, int]:
    """The images in the order of their ids; faster-coco-eval knows no ids but numbers."""
    ids = _sorted({image["id"] for image in truth["images"]})
    return {image_id: number for number, image_id in enumerate(ids)}


def _sorted(ids: Iterable[ImageId]) -> list[ImageId]:
    return sorted(ids, key=lambda value: (isinstance(value, str), value))


def _annotation(source: Json, number: int, image: int) -> dict[str, Any]:
    """What both libraries need of an annotation or a result; ids count from 1 (0 is no match)."""
    _, _, width, height = source["bbox"]
    return {
        "image_id": image,
        "category_id": source["category_id"],
        "bbox": source["bbox"],
        "id": number + 1,
        "score": source.get("score", 1.0),
        "area": source.get("area", width * height),
        "iscrowd": source.get("iscrowd", 0),
    }


def _index(
    coco_class: Any, truth: Json, boxes: Sequence[Json], numbers: Mapping[ImageId, int]
) -> Any:
    # Built directly: pycocotools' loadRes fails on an empty list and writes into its argument.
    coco = coco_class()
    coco.dataset = {
        "images": [{**image, "id": numbers[image["id"]]} for image in truth["images"]],
        "categories": list(truth["categories"]),
        "annotations": [
            _annotation(box, number, numbers[box["image_id"]])
            for number, box in enumerate(boxes)
            if box["image_id"] in numbers
        ],
    }
    coco.createIndex()
    return coco


def _accuracy(precision: NDArray[np.float64], classes: list[str]) -> BoxAccuracy:
    """Averages precision (IoU thresholds, recalls, classes, areas, box limits); -1 is undefined."""
    everything, limit = 0, -1
    parts = {
        "AP": precision[:, :, :, everything, limit],
        "AP50": precision[0, :, :, everything, limit],
        "AP75": precision[5, :, :, everything, limit],
        "APs": precision[:, :, :, 1, limit],
        "APm": precision[:, :, :, 2, limit],
        "APl": precision[:, :, :, 3, limit],
    }
    per_class = {
        name: _means({"AP": parts["AP"][:, :, column], "AP50": parts["AP50"][:, column]})
        for column, name in enumerate(classes)
    }
    return BoxAccuracy(_means(parts), per_class)


def _means(parts: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    defined = {name: values[values > -1] for name, values in parts.items()}
    return {name: 100 * float(values.mean()) for name, values in defined.items() if values.size}
