"""KittiRecordMetric: mmdet3d's KITTI evaluation, on a CPU too, with an accuracy to record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.evaluator import BaseMetric

from kd3d.errors import UserError
from kd3d.evaluation.kitti_overlap import overlaps_without_cuda
from kd3d.registry import METRICS

_LEVELS = ("easy", "moderate", "hard")


@dataclass(frozen=True)
class KittiAccuracy:
    """Average precision in percent, over 40 recall positions, by KITTI's strict overlaps.

    Attributes:
        metrics: ``AP`` is KITTI's headline: 3D boxes, moderate objects, mean over classes. Then
            ``AP easy``, ``AP hard``, and of boxes seen from above ``BEV``, ``BEV easy``,
            ``BEV hard``; ``AP loose`` and ``BEV loose`` want less overlap of moderate objects.
        per_class: the same of each class.
    """

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]]


@METRICS.register_module()
class KittiRecordMetric(BaseMetric):
    """Evaluates LiDAR boxes with mmdet3d's ``KittiMetric``.

    A config of mmdet3d needs no more than another ``type``. The keys are mmdet3d's, in percent,
    and ``KITTI/AP``, the headline. Without a GPU the overlaps of turned boxes come from
    shapely's polygons instead of mmdet3d's CUDA kernel.

    Attributes:
        accuracy: of the latest evaluation, on the main process; None before.
        frames: in that evaluation.

    Args:
        ann_file: mmdet3d's info file of the tested frames.
        metric: "bbox"; accepted as mmdet3d's configs set it.
        pcd_limit_range: boxes beyond are left out; None for mmdet3d's.
        backend_args: how MMEngine reads ``ann_file``.
        collect_device: as in ``BaseMetric``.
        prefix: as in ``BaseMetric``.

    Raises:
        UserError: if ``metric`` asks for anything but boxes, or a class is none that mmdet3d can
            judge.
    """

    default_prefix = "KITTI"
    judged = ("Car", "Pedestrian", "Cyclist")  # mmdet3d's rules of ignored objects know no other
    predictions: str | None = None  # the boxes are not kept

    def __init__(
        self,
        ann_file: str,
        *,
        metric: str | Sequence[str] = "bbox",
        pcd_limit_range: Sequence[float] | None = None,
        backend_args: dict[str, Any] | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        from mmdet3d.evaluation import KittiMetric

        super().__init__(collect_device=collect_device, prefix=prefix)
        if metric not in ("bbox", ["bbox"], ("bbox",)):
            raise UserError(f"KittiRecordMetric: expected metric='bbox', got {metric!r}")
        self.ann_file = ann_file
        self.accuracy: KittiAccuracy | None = None
        self.frames = 0
        limit = {} if pcd_limit_range is None else {"pcd_limit_range": list(pcd_limit_range)}
        self._upstream = KittiMetric(ann_file, backend_args=backend_args, **limit)

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, meta: dict[str, Any]) -> None:
        """Checks the dataset's ``classes`` as soon as they are set."""
        unknown = sorted(set(meta["classes"]) - set(self.judged))
        if unknown:
            raise UserError(
                f"KittiRecordMetric: mmdet3d cannot judge {unknown}, only {list(self.judged)}; "
                "leave them out of metainfo.classes, or read them as others when the infos are made"
            )
        self._dataset_meta: dict[str, Any] | None = meta
        self._upstream.dataset_meta = meta

    @property
    def conditions(self) -> dict[str, str | int]:
        """Of the latest evaluation, for its record."""
        return {"frames": self.frames, "evaluator": "mmdet3d KittiMetric, AP40"}

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keeps the boxes of one batch."""
        self._upstream.process(data_batch, data_samples)
        self.results.extend(self._upstream.results)
        self._upstream.results.clear()

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Evaluates all frames."""
        classes = list((self.dataset_meta or {})["classes"])
        with overlaps_without_cuda():
            found = self._upstream.compute_metrics(results)
        values = {key.rpartition("KITTI/")[2]: value for key, value in found.items()}
        self.frames = len(results)
        self.accuracy = _accuracy(values, classes)
        return {"AP": self.accuracy.metrics["AP"], **values}


def _accuracy(values: Mapping[str, float], classes: Sequence[str]) -> KittiAccuracy:
    per_class = {name: _of_class(values, name) for name in classes}
    keys = next(iter(per_class.values()))
    metrics = {key: sum(each[key] for each in per_class.values()) / len(per_class) for key in keys}
    return KittiAccuracy(metrics, per_class)


def _of_class(values: Mapping[str, float], name: str) -> dict[str, float]:
    found = {}
    for ours, kind in (("AP", "3D"), ("BEV", "BEV")):
        for level in _LEVELS:
            key = ours if level == "moderate" else f"{ours} {level}"
            found[key] = values.get(f"{name}_{kind}_AP40_{level}_strict", 0.0)
        found[f"{ours} loose"] = values.get(f"{name}_{kind}_AP40_moderate_loose", 0.0)
    return found
