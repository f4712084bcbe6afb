"""CocoRecordMetric: COCO box metrics of an MMDetection detector, in place of mmdet's CocoMetric."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

from mmengine.evaluator import BaseMetric
from mmengine.fileio import get_local_path
from mmengine.logging import print_log

from kd3d.errors import UserError
from kd3d.evaluation.coco import BACKENDS, BoxAccuracy, evaluate_boxes, read_ground_truth
from kd3d.files import write_text
from kd3d.registry import METRICS

# Our names and mmdet's, so that save_best="coco/bbox_mAP" keeps working.
_MMDET_NAMES = {
    "AP": "bbox_mAP",
    "AP50": "bbox_mAP_50",
    "AP75": "bbox_mAP_75",
    "APs": "bbox_mAP_s",
    "APm": "bbox_mAP_m",
    "APl": "bbox_mAP_l",
}


@METRICS.register_module()
class CocoRecordMetric(BaseMetric):
    """Evaluates boxes against a COCO annotation file and can keep the predictions.

    The keys are mmdet's (``coco/bbox_mAP``, ``coco/bbox_mAP_50``, ...), as fractions, not rounded;
    -1 where no ground truth defines a value. Labels become category ids by the dataset's class
    *names*, whatever order the annotation file lists them in. Every image of the file counts;
    other categories than the dataset's classes do not.

    Attributes:
        accuracy: of the latest evaluation, on the main process; None before.
        images: number of images in that evaluation.

    Args:
        ann_file: COCO annotations.
        backend: "faster-coco-eval" or "pycocotools".
        predictions: file for the boxes found, in COCO's result format; None writes none.
        metric: "bbox"; accepted so that a config of mmdet needs no more than another ``type``.
        format_only: False, likewise.
        backend_args: how MMEngine reads ``ann_file``.
        collect_device: as in ``BaseMetric``.
        prefix: as in ``BaseMetric``.

    Raises:
        UserError: if ``metric`` asks for anything but boxes, or a class of the dataset is not a
            category of the annotation file.
    """

    default_prefix = "coco"

    def __init__(
        self,
        ann_file: str,
        *,
        backend: str = BACKENDS[0],
        predictions: str | None = None,
        metric: str | Sequence[str] = "bbox",
        format_only: bool = False,
        backend_args: dict[str, Any] | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if metric not in ("bbox", ["bbox"], ("bbox",)) or format_only:
            raise UserError(
                f"CocoRecordMetric: expected metric='bbox' and format_only=False, got {metric!r} "
                f"and {format_only!r}; use mmdet's CocoMetric for anything but boxes"
            )
        self.ann_file = ann_file
        self.backend = backend
        self.predictions = predictions
        self.accuracy: BoxAccuracy | None = None
        self.images = 0
        with get_local_path(ann_file, backend_args=backend_args) as path:
            self._truth = read_ground_truth(path)
        self._category_of_label: list[int] = []

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, meta: dict[str, Any]) -> None:
        """Checks the dataset's ``classes`` as soon as they are set."""
        self._category_of_label = _category_of_label(
            meta["classes"], self._truth["categories"], self.ann_file
        )
        self._dataset_meta = meta

    @property
    def conditions(self) -> dict[str, str | int]:
        """Of the latest evaluation, for its record."""
        return {"images": self.images, "evaluator": self.backend}

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keeps the boxes of one batch, one entry an image, as MMEngine's collection expects."""
        for sample in data_samples:
            found, given = sample["pred_instances"], sample["img_id"]
            self.results.append(
                {
                    "image_id": int(given) if isinstance(given, SupportsIndex) else given,
                    "boxes": found["bboxes"].cpu().numpy(),
                    "scores": found["scores"].cpu().numpy(),
                    "labels": found["labels"].cpu().numpy(),
                }
            )

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Evaluates all images; writes the predictions first, so that they outlive an error."""
        boxes = [box for image in results for box in self._coco_results(image)]
        if self.predictions is not None:
            write_text(self.predictions, json.dumps(boxes))  # compact: 500,000 boxes on COCO
        self.images = len(results)
        if self.images != len(self._truth["images"]):
            print_log(
                f"CocoRecordMetric: {self.images} images were tested, but {self.ann_file} has "
                f"{len(self._truth['images'])}; objects of the others count as missed",
                logger="current",
                level=logging.WARNING,
            )
        known = set(self._category_of_label)
        categories = [c for c in self._truth["categories"] if c["id"] in known]
        self.accuracy = evaluate_boxes(
            {**self._truth, "categories": categories}, boxes, backend=self.backend
        )
        metrics = self.accuracy.metrics
        return {
            key: metrics[ours] / 100 if ours in metrics else -1.0
            for ours, key in _MMDET_NAMES.items()
        }

    def _coco_results(self, image: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "image_id": image["image_id"],
                "category_id": self._category_of_label[label],
                "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                "score": float(score),
            }
            for (x1, y1, x2, y2), score, label in zip(
                image["boxes"], image["scores"], image["labels"], strict=True
            )
        ]


def _category_of_label(
    classes: Sequence[str], categories: Sequence[Mapping[str, Any]], ann_file: str
) -> list[int]:
    ids = {category["name"]: int(category["id"]) for category in categories}
    missing = [name for name in classes if name not in ids]
    if missing:
        raise UserError(
            f"{ann_file}: the dataset's classes {missing[:5]} ({len(missing)} of {len(classes)}) "
            f"are not among its categories {sorted(ids)[:10]}; set metainfo=dict(classes=...) of "
            "the dataset in the config"
        )
    return [ids[name] for name in classes]
