"""Frames without their labels, as most of a fleet's are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kd3d.errors import UserError
from kd3d.registry import DATASETS

# Frames in a row that a pipeline may turn down by chance, as an image that cannot be read. The
# libraries try a thousand before they give up.
_TRIES = 10


@DATASETS.register_module()
class Unlabelled:
    """A dataset of mmdet or mmdet3d whose annotations are taken away as it is loaded.

    Every frame is kept, also one that has no object, and its data sample says
    ``labelled=False``. A DistillHook lets such frames take part in the pairs only, so they belong
    into a ConcatDataset beside labelled ones, drawn by ``mmdet.MultiSourceSampler``.

    Args:
        dataset: config of a dataset class of the libraries, not of another wrapper.

    Raises:
        UserError: a wrapper is given.
    """

    def __init__(self, dataset: Mapping[str, Any]) -> None:
        settings = {**dataset}
        if "filter_cfg" in settings:
            settings["filter_cfg"] = None  # it would drop frames for want of objects
        self.dataset: Any = DATASETS.build(settings)  # Any: an untyped library
        if not hasattr(self.dataset, "data_list"):
            raise UserError(
                f"Unlabelled: got the wrapper {type(self.dataset).__name__}; give it the dataset "
                "inside, and wrap Unlabelled if it must be"
            )
        if hasattr(self.dataset, "filter_empty_gt"):
            self.dataset.filter_empty_gt = False
        self.dataset.max_refetch = min(self.dataset.max_refetch, _TRIES)
        self._strip()

    @property
    def metainfo(self) -> dict[str, Any]:
        """That of the dataset inside: labelled and unlabelled frames are joined by it."""
        info: dict[str, Any] = self.dataset.metainfo
        return info

    def full_init(self) -> None:
        """Has been done; MMEngine's wrappers ask for it."""

    def get_data_info(self, index: int) -> dict[str, Any]:
        """What is known of a frame before its pipeline, without annotations."""
        info: dict[str, Any] = self.dataset.get_data_info(index)
        return info

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The frame after its pipeline.

        Raises:
            UserError: the pipeline brought objects in, loads no boxes at all, where empty ones are
                read, or turns down frames without any.
        """
        data = self._processed(index)
        sample = data["data_samples"]
        for key, labels in (("gt_instances", "labels"), ("gt_instances_3d", "labels_3d")):
            instances = getattr(sample, key, None)
            if instances is not None and len(getattr(instances, labels, ())):
                raise UserError(
                    "Unlabelled: the pipeline added objects to a frame without labels; leave "
                    "ObjectSample, and what else pastes objects, out of its pipeline"
                )
        _expect_boxes(sample)
        sample.set_metainfo({"labelled": False})
        return data

    def _processed(self, index: int) -> dict[str, Any]:
        try:
            data: dict[str, Any] = self.dataset[index]
        except Exception:
            transform = self._rejecting(index)
            if transform is None:  # it fails for another reason
                raise
            raise UserError(
                f"Unlabelled: {transform} in the pipeline of {type(self.dataset).__name__} "
                f"{self.dataset.ann_file} turns down frames without boxes: none of "
                f"{self.dataset.max_refetch + 1} came through; let it take them (RandomCrop: "
                "allow_negative_crop=True), or leave it out of the unlabelled frames' pipeline"
            ) from None
        return data

    def _rejecting(self, index: int) -> str | None:
        """The transform that makes nothing of a frame, by its class; None if all make something."""
        pipeline = self.dataset.pipeline
        noting = _NotingPipeline(pipeline.transforms)
        self.dataset.pipeline = noting
        try:
            self.dataset.prepare_data(index)
        finally:
            self.dataset.pipeline = pipeline
        return noting.rejecting

    def _strip(self) -> None:
        """Rewrites what the dataset holds, so that no label is left in memory either."""
        dataset = self.dataset
        dataset.full_init()
        infos = [without_labels(dataset.get_data_info(i)) for i in range(len(dataset))]
        dataset.data_list = infos
        if dataset.serialize_data:
            dataset.data_bytes, dataset.data_address = dataset._serialize_data()


class _NotingPipeline:
    """Runs transforms as the libraries' Compose does, and notes the one that returned nothing."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms
        self.rejecting: str | None = None

    def __call__(self, data: Any) -> Any:  # Any: as transforms take it
        for transform in self.transforms:
            data = transform(data)
            if data is None:
                self.rejecting = type(transform).__name__
                return None
        return data


def _expect_boxes(sample: Any) -> None:  # Any: a data sample
    in_3d = hasattr(sample, "gt_instances_3d")
    names = ("bboxes_3d", "labels_3d") if in_3d else ("bboxes", "labels")
    instances = sample.gt_instances_3d if in_3d else getattr(sample, "gt_instances", ())
    if all(name in instances for name in names):
        return
    step = "LoadAnnotations (with_bbox=True)"
    if in_3d:
        step = "LoadAnnotations3D, and gt_bboxes_3d and gt_labels_3d to the keys of Pack3DDetInputs"
    raise UserError(
        f"Unlabelled: its pipeline packs no {' and '.join(names)}, and losses read empty ones of a "
        f"frame without labels; add {step} (what they load is emptied)"
    )


def without_labels(info: Mapping[str, Any]) -> dict[str, Any]:
    """A frame's info with empty annotations, in the types and shapes that pipelines read."""
    kept = {key: value for key, value in info.items() if key not in ("eval_ann_info", "proposals")}
    for key in ("instances", "cam_instances"):
        if key in kept:
            kept[key] = type(kept[key])()
    if kept.get("ann_info"):
        kept["ann_info"] = {key: _emptied(value) for key, value in kept["ann_info"].items()}
    return kept


def _emptied(value: Any) -> Any:  # Any: arrays, lists and boxes, each by object
    if isinstance(value, np.ndarray):
        value = np.atleast_1d(value)  # mmdet3d has a plain 0 for the labels of no object
    return value[:0] if hasattr(value, "__len__") and not isinstance(value, Mapping) else value
