"""From a test run to its accuracy record: which model, on what, under which conditions."""

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from kd3d.checkpoints import local_checkpoint
from kd3d.configs import size_text, type_name
from kd3d.errors import UserError
from kd3d.evaluation.coco_metric import CocoRecordMetric
from kd3d.evaluation.kitti_metric import KittiRecordMetric
from kd3d.evaluation.nuscenes.metric import NuScenesFastMetric
from kd3d.evaluation.nuscenes.record import CURVES
from kd3d.files import sha256_of, write_json
from kd3d.profiling.environment import environment
from kd3d.report.record import ACCURACY_FILE, Record

RecordMetric = CocoRecordMetric | KittiRecordMetric | NuScenesFastMetric


@dataclass(frozen=True)
class _Kind:
    """A metric that leaves a record, and the upstream metric it takes the place of."""

    ours: type[RecordMetric]
    upstream: str
    predictions: str  # file in the work dir; "" where none is written
    replaced: tuple[str, ...]  # upstream options that ours answers in its own way

    def options(self) -> set[str]:
        return set(inspect.signature(self.ours).parameters)


_KINDS = (
    # ours always answers per class and is told where predictions go
    _Kind(
        CocoRecordMetric,
        "CocoMetric",
        "predictions.bbox.json",
        ("type", "classwise", "outfile_prefix", "predictions", "proposal_nums"),
    ),
    _Kind(
        NuScenesFastMetric,
        "NuScenesMetric",
        "predictions.nuscenes.json",
        ("type", "jsonfile_prefix", "predictions"),
    ),
    _Kind(KittiRecordMetric, "KittiMetric", "", ("type", "pklfile_prefix")),
)

# Where a run reads and writes, and how it is judged; all else decides what it computes.
_NOT_HASHED = (
    "work_dir",
    "load_from",
    "started_from",
    "resume",
    "launcher",
    "val_evaluator",
    "test_evaluator",
)


def prepare_test(cfg: Config, work_dir: str | Path) -> None:
    """Makes the test evaluator of any MMDetection(3D) config keep what a record needs.

    Puts ``CocoRecordMetric`` in the place of ``CocoMetric``, or ``NuScenesFastMetric`` in that of
    ``NuScenesMetric``, and has the boxes written to ``predictions.bbox.json`` or
    ``predictions.nuscenes.json`` in ``work_dir``. ``KittiRecordMetric``, in the place of
    ``KittiMetric``, keeps none.

    Raises:
        UserError: if the config evaluates its test split by none of them, or by more than boxes.
    """
    given = cfg.get("test_evaluator") or []
    evaluators = [dict(e) for e in (given if isinstance(given, (list, tuple)) else [given])]
    found = [(e, kind) for e in evaluators if (kind := _kind_of(e)) and e.get("ann_file")]
    if len(found) != 1:
        raise UserError(
            f"{cfg.filename}: expected one COCO metric with an ann_file in test_evaluator, or one "
            f"of nuScenes or KITTI, got {given}; set test_evaluator=dict(type='CocoRecordMetric', "
            "ann_file=...) or dict(type='NuScenesFastMetric', data_root=..., ann_file=...)"
        )
    (evaluator, kind), *_ = found
    answered = {*kind.replaced, "_scope_"}  # MMEngine's note of the library a base came from
    options = {key: value for key, value in evaluator.items() if key not in answered}
    unknown = sorted(options.keys() - kind.options())
    if unknown:
        raise UserError(
            f"{cfg.filename}: test_evaluator sets {unknown}, which {kind.ours.__name__} does not "
            f"have; remove them (allowed: {sorted(kind.options())})"
        )
    evaluator.clear()
    evaluator.update(options, type=kind.ours.__name__)
    if kind.predictions:
        evaluator["predictions"] = str(Path(work_dir) / kind.predictions)
    cfg.test_evaluator = evaluators
    _conditions_of(cfg)  # for the record; what cannot be read fails before the test, not after


def write_accuracy_record(
    runner: Runner,
    work_dir: str | Path,
    *,
    checkpoint: str,
    role: str = "",
    name: str = "",
    seed: int | None = None,
    conditions: Mapping[str, str | float | int | bool] | None = None,
) -> Path:
    """Writes ``record-accuracy.json`` into ``work_dir`` after ``Runner.test()``; main process only.

    Of nuScenes it also writes ``curves.json``: class -> distance -> recall and precision.

    Args:
        runner: that has run the test, with a config treated by ``prepare_test``.
        work_dir: of this run; the predictions lie there too.
        checkpoint: file of the weights that were tested.
        role: "teacher", "baseline", "control", "distilled", or "" if unknown.
        name: of the run, such as "distilled/seed0"; the folder's name if empty.
        seed: the run was trained with.
        conditions: to add to those found: images, input, schedule, boxes an image, evaluator.

    Raises:
        UserError: if a value may not be in a record; nothing is written then.
    """
    metric = _record_metric(runner)
    assert metric.accuracy is not None, "write_accuracy_record comes after Runner.test()"
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    dataset = runner.test_dataloader.dataset
    record = Record(
        kind="accuracy",
        role=role,
        name=name or Path(work_dir).resolve().name,
        metrics=metric.accuracy.metrics,
        per_class=metric.accuracy.per_class,
        seed=seed,
        config=str(runner.cfg.filename or ""),
        config_hash=config_hash(runner.cfg),
        checkpoint=str(checkpoint),
        checkpoint_hash=sha256_of(local_checkpoint(checkpoint)),
        dataset=_dataset(metric, dataset),
        # an exported file in the detector's place has none to count
        parameters=sum(parameter.numel() for parameter in model.parameters()) or None,
        files=_files(metric),
        environment=environment(),
        conditions={**_conditions(runner.cfg, metric), **(conditions or {})},
    )
    target = Path(work_dir) / ACCURACY_FILE
    record.check(target)  # before anything is written
    if isinstance(metric, NuScenesFastMetric):
        write_json(target.with_name(CURVES), metric.accuracy.curve_points)
    return record.write(target)


def config_hash(cfg: Config) -> str:
    """First 12 hexadecimal digits of the SHA-256 of a config with its bases merged in.

    What says only where a run reads and writes, or how it is judged, is left out: work_dir,
    load_from, resume, launcher and the evaluators.
    """
    content = {key: value for key, value in cfg.to_dict().items() if key not in _NOT_HASHED}
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _kind_of(evaluator: Mapping[str, Any]) -> _Kind | None:  # Any: config values
    name = type_name(evaluator)
    return next((kind for kind in _KINDS if name in (kind.upstream, kind.ours.__name__)), None)


def _record_metric(runner: Runner) -> RecordMetric:
    metrics = runner.test_loop.evaluator.metrics
    return next(metric for metric in metrics if isinstance(metric, RecordMetric))


def _dataset(metric: RecordMetric, dataset: Any) -> dict[str, str]:  # Any: of mmdet or mmdet3d
    prefixes = getattr(dataset, "data_prefix", {})
    found = {"ann_file": str(metric.ann_file), "img_prefix": str(prefixes.get("img", ""))}
    if isinstance(metric, NuScenesFastMetric):
        return {"ann_file": str(metric.ann_file), **metric.tested}
    return {**found, "split": "test"}


def _files(metric: RecordMetric) -> dict[str, str]:
    """Names of what lies beside the record."""
    files = {} if metric.predictions is None else {"predictions": Path(metric.predictions).name}
    return {**files, "curves": CURVES} if isinstance(metric, NuScenesFastMetric) else files


def _conditions(cfg: Config, metric: RecordMetric) -> dict[str, str | float | int | bool]:
    return {**metric.conditions, **_conditions_of(cfg)}


def _conditions_of(cfg: Config) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    scales = [step["scale"] for step in _resizes(cfg.test_dataloader) if step.get("scale")]
    if scales:
        where = f"config {cfg.filename}: test_dataloader: Resize(scale=...)"
        found["input"] = size_text(scales[0], where=where)
    for limit in ("max_epochs", "max_iters"):
        if (cfg.get("train_cfg") or {}).get(limit):
            found[limit] = int(cfg.train_cfg[limit])
    if cfg.get("started_from"):
        found["started_from"] = str(cfg.started_from)
    return found


def _resizes(node: Any) -> Iterator[Mapping[str, Any]]:  # Any: a config nests freely
    """Every ``Resize`` of a pipeline, however deep the dataset is wrapped."""
    if isinstance(node, Mapping):
        if type_name(node) == "Resize":
            yield node
        for value in node.values():
            yield from _resizes(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _resizes(value)
