"""NuScenesFastMetric: nuScenes' detection scores of an mmdet3d detector while it trains."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend, get_file_backend, load
from mmengine.logging import print_log

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes.boxes import Boxes, GroundTruth
from kd3d.evaluation.nuscenes.cache import evaluated_scenes, load_ground_truth
from kd3d.evaluation.nuscenes.camera_boxes import joined_boxes
from kd3d.evaluation.nuscenes.evaluate import evaluate
from kd3d.evaluation.nuscenes.lidar_boxes import LidarFrame, global_boxes
from kd3d.evaluation.nuscenes.origin import origin_of
from kd3d.evaluation.nuscenes.protocol import CLASSES, protocol_of
from kd3d.evaluation.nuscenes.result import NuScenesResult
from kd3d.evaluation.nuscenes.result_table import result_table
from kd3d.evaluation.nuscenes.results_writing import write_results
from kd3d.evaluation.nuscenes.splits import is_predefined
from kd3d.registry import METRICS

# What mmdet3d's NuScenesMetric evaluates on, whatever its ann_file holds.
_SPLIT_OF_VERSION = {"v1.0-mini": "mini_val", "v1.0-trainval": "val"}
_CAMERAS = 6  # of a frame


@METRICS.register_module()
class NuScenesFastMetric(BaseMetric):
    """Evaluates boxes as mmdet3d's ``NuScenesMetric`` does, without database or JSON file.

    They are in the LiDAR's frame, or each in its camera's (those of a frame are joined).
    A config of mmdet3d needs no more than another ``type``. The values are the devkit's to the
    last bit; ``NuScenes/NDS`` and its kin are fractions, as mmdet3d logs them. All samples of
    the split have to be tested.

    Attributes:
        accuracy: of the latest evaluation, on the main process; None before.
        tested: data_root, version and split of that evaluation, and synthetic="yes" where the
            data set says that it is made up; empty before.

    Args:
        data_root: folder of the data set, with the folder ``version`` of tables in it.
        ann_file: mmdet3d's info file of the tested samples; relative to the working directory,
            or to ``data_root``.
        version: folder of the tables; None for the one that the dataset names.
        split: that the info file holds: nuScenes' own or one of ``splits.json``; None for the
            validation split of ``version``.
        subset: evaluate the samples that were tested and no others. Such a number compares two
            runs over the same samples; it is none of the benchmark's.
        predictions: nuScenes results file to write; None writes none.
        metric: "bbox"; accepted as mmdet3d's configs set it.
        modality: named in the results file.
        eval_version: protocol.
        backend_args: how MMEngine reads ``ann_file``.
        collect_device: as in ``BaseMetric``.
        prefix: as in ``BaseMetric``.

    Raises:
        UserError: if ``metric`` asks for anything but boxes, tables, split or info file are
            missing (when a loop brings its dataset, before the first sample), or the samples
            tested are not those of the split.
    """

    default_prefix = "NuScenes"

    def __init__(
        self,
        data_root: str,
        ann_file: str,
        *,
        version: str | None = None,
        split: str | None = None,
        subset: bool = False,
        predictions: str | None = None,
        metric: str | Sequence[str] = "bbox",
        modality: Mapping[str, bool] | None = None,
        eval_version: str = "detection_cvpr_2019",
        backend_args: dict[str, Any] | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if metric not in ("bbox", ["bbox"], ("bbox",)):
            raise UserError(f"NuScenesFastMetric: expected metric='bbox', got {metric!r}")
        self.data_root = data_root
        self.ann_file = ann_file
        self.version = version
        self.split = split
        self.subset = subset
        self.predictions = predictions
        self.protocol = protocol_of(eval_version)
        self.accuracy: NuScenesResult | None = None
        self.tested: dict[str, str] = {}
        self._modality = dict(modality or {"use_camera": False, "use_lidar": True})
        self._backend_args = backend_args
        self._infos: list[dict[str, Any]] = []
        self._poses: list[LidarFrame] = []
        self._truth: GroundTruth | None = None

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, meta: dict[str, Any]) -> None:
        """Checks at once what is needed after the last sample: classes, tables, split, infos."""
        self._dataset_meta: dict[str, Any] | None = meta
        unknown = sorted(set(meta["classes"]) - set(CLASSES))
        if unknown:
            raise UserError(f"NuScenesFastMetric: {unknown} are no classes of nuScenes {CLASSES}")
        version = self._version_of(meta)
        evaluated_scenes(self.data_root, version, self._split_of(version))
        path = self._info_file()
        backend = get_file_backend(path, backend_args=self._backend_args)
        if isinstance(backend, LocalBackend) and not backend.isfile(path):
            raise UserError(
                f"NuScenesFastMetric: ann_file={self.ann_file!r}: no such file, nor is it {path}; "
                "make the data set's infos, or give the dataset's ann_file"
            )

    @property
    def conditions(self) -> dict[str, str | int]:
        """Of the latest evaluation, for its record."""
        frames = self.accuracy.frames if self.accuracy else 0
        return {"frames": frames, "evaluator": f"kd3d, {self.protocol.name}"}

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keeps the boxes of one batch, one entry a sample, as MMEngine's collection expects."""
        for sample in data_samples:
            found = sample["pred_instances_3d"]
            boxes = found["bboxes_3d"]
            if type(boxes).__name__ == "CameraInstance3DBoxes":
                camera = {key: found[key].to("cpu") for key in found}
                self.results.append({"sample_idx": int(sample["sample_idx"]), "camera": camera})
                continue
            if type(boxes).__name__ != "LiDARInstance3DBoxes":
                raise UserError(
                    "NuScenesFastMetric: expected boxes in the LiDAR's frame or a camera's, got "
                    f"{type(boxes).__name__}; set box_type_3d='LiDAR' or 'Camera' in the dataset"
                )
            self.results.append(
                {
                    "sample_idx": int(sample["sample_idx"]),
                    "file_name": Path(sample.get("lidar_path") or "").name,
                    "boxes": boxes.tensor.cpu().numpy(),
                    "scores": found["scores_3d"].cpu().numpy(),
                    "labels": found["labels_3d"].cpu().numpy(),
                }
            )

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Evaluates all samples; writes the predictions first, so that they outlive an error."""
        meta = self.dataset_meta or {}
        classes = list(meta["classes"])
        version = self._version_of(meta)
        split = self._split_of(version)
        if self._truth is None:
            self._truth = load_ground_truth(self.data_root, version, split)
            self._poses = self._read_poses()
        results = _of_frames(results)
        truth = self._truth_of(results)
        boxes = self._global_boxes(results, classes, truth, split)
        if self.predictions is not None:
            write_results(self.predictions, boxes, truth.tokens, meta=self._modality)
        self.accuracy = evaluate(truth, boxes, self.protocol)
        self.tested = {
            "data_root": self.data_root,
            "version": version,
            "split": split,
            **origin_of(self.data_root, version),
        }
        print_log("\n" + result_table(self.accuracy, self.tested), logger="current")
        answer = {"NDS": self.accuracy.nds, "mAP": self.accuracy.mean_ap}
        percent = ("NDS", "mAP")
        errors = {k: v for k, v in self.accuracy.metrics.items() if k not in percent}
        return {**answer, **errors}

    def _truth_of(self, results: Sequence[Mapping[str, Any]]) -> GroundTruth:
        """Of the whole split, or with ``subset`` of the frames that were tested."""
        assert self._truth is not None
        if not self.subset:
            return self._truth
        tested = {self._pose_of(found).token for found in results}
        return self._truth.of_frames([i for i, t in enumerate(self._truth.tokens) if t in tested])

    def _version_of(self, meta: Mapping[str, Any]) -> str:
        return self.version or str(meta["version"])

    def _split_of(self, version: str) -> str:
        split = self.split or _SPLIT_OF_VERSION.get(version)
        if split is None:
            raise UserError(
                f"NuScenesFastMetric: split=None stands for the validation split of "
                f"{sorted(_SPLIT_OF_VERSION)}, got version {version!r}; set split"
            )
        return split

    def _info_file(self) -> str:
        path = self.ann_file
        if "://" not in path and not Path(path).is_file():
            path = str(Path(self.data_root) / path)
        return path

    def _read_poses(self) -> list[LidarFrame]:
        path = self._info_file()
        infos = load(path, backend_args=self._backend_args)
        try:
            self._infos = infos["data_list"]
            return [LidarFrame.of(info) for info in self._infos]
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path}: expected an info file as mmdet3d 1.1 or later writes it for nuScenes, "
                f"but {error!r}; make it anew with its tools/create_data.py"
            ) from None

    def _pose_of(self, found: Mapping[str, Any]) -> LidarFrame:
        """Of a tested sample; a dataset that reads another info file is not taken for this one."""
        number, name = int(found["sample_idx"]), str(found["file_name"])
        pose = self._poses[number] if number < len(self._poses) else None
        if pose is None or (name and pose.file_name and name != pose.file_name):
            raise UserError(
                f"NuScenesFastMetric: sample {number} of the dataset is {name or 'there'}, but in "
                f"{self.ann_file} it is {pose.file_name if pose else 'missing'}; give dataset and "
                "evaluator the same ann_file"
            )
        return pose

    def _global_boxes(
        self,
        results: Sequence[dict[str, Any]],
        classes: Sequence[str],
        truth: GroundTruth,
        split: str,
    ) -> Boxes:
        frame_of = {token: frame for frame, token in enumerate(truth.tokens)}
        by_token: dict[str, tuple[dict[str, Any], LidarFrame]] = {}
        for found in results:  # a sample that was tested twice counts as tested last
            pose = self._pose_of(found)
            by_token[pose.token] = (found, pose)
        if by_token.keys() != frame_of.keys():
            raise UserError(
                f"NuScenesFastMetric: {len(by_token)} samples of {self.ann_file} were tested, but "
                f"split {split} has {len(frame_of)}, {len(by_token.keys() & frame_of.keys())} of "
                "them tested; test all of a split, or list the tested scenes in splits.json"
            )
        # The devkit reads its own splits in the order of the file, others in that of the tables.
        order = by_token if is_predefined(split) else frame_of
        return Boxes.concatenate(
            [self._frames_boxes(*by_token[token], frame_of[token], classes) for token in order]
        )

    def _frames_boxes(
        self, found: Mapping[str, Any], pose: LidarFrame, frame: int, classes: Sequence[str]
    ) -> Boxes:
        if "cameras" not in found:
            return global_boxes(found, pose, frame, classes, self.protocol)
        info = self._infos[found["sample_idx"]]
        return joined_boxes(found["cameras"], info, frame, classes, self.protocol)


def _of_frames(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a frame; mmdet3d numbers the images of a frame's cameras in a row."""
    frames = [found for found in results if "camera" not in found]
    cameras: dict[int, dict[int, Any]] = {}
    for found in results:
        if "camera" in found:
            number, place = divmod(found["sample_idx"], _CAMERAS)
            cameras.setdefault(number, {})[place] = found["camera"]
    return frames + [
        {"sample_idx": number, "file_name": "", "cameras": found}
        for number, found in cameras.items()
    ]
