"""Time and memory of the nuScenes evaluation: kd3d's and the devkit's, on the same boxes."""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kd3d.evaluation.nuscenes import CLASSES, CVPR_2019, Boxes, GroundTruth, evaluate
from kd3d.evaluation.nuscenes.boxes import Floats
from kd3d.evaluation.nuscenes.filters import counting
from kd3d.evaluation.nuscenes.official import devkit_metric_values, values_of
from kd3d.evaluation.nuscenes.protocol import ATTRIBUTES
from kd3d.profiling.costs.nuscenes_corpus import nuscenes_corpus


@dataclass(frozen=True)
class EvaluationCost:
    """One evaluation of a corpus, in a process of its own.

    Attributes:
        samples: frames.
        predictions: in each of them.
        seconds: of matching and metrics, by the clock; the median where repeated.
        cpu_seconds: of the process in that time, which other work on the machine changes little.
        peak_mb: of the process, with the boxes it evaluates.
        values: every AP, error and score by name.
    """

    samples: int
    predictions: int
    seconds: float
    cpu_seconds: float
    peak_mb: float
    values: Mapping[str, float]

    @property
    def figures(self) -> dict[str, float]:
        """All but the values."""
        names = ("samples", "predictions", "seconds", "cpu_seconds", "peak_mb")
        return {name: getattr(self, name) for name in names}


def measure_ours(samples: int, predictions: int, *, repeats: int = 3) -> EvaluationCost:
    """Filters, matching and metrics of kd3d. Compiled code is loaded before the clock starts."""
    return _in_new_process(_ours, samples, predictions, repeats)


def measure_devkit(samples: int, predictions: int) -> EvaluationCost:
    """Matching and metrics of the devkit; its filters and box objects are not counted."""
    return _in_new_process(_devkit, samples, predictions)


def unequal_values(ours: EvaluationCost, devkit: EvaluationCost) -> list[str]:
    """Names of the values that differ by a bit or more."""
    return [
        name
        for name, value in ours.values.items()
        if not np.array_equal(value, devkit.values[name], equal_nan=True)
    ]


def _in_new_process(function: Callable[..., EvaluationCost], *arguments: int) -> EvaluationCost:
    """So that the peak is that of this measurement alone."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def _ours(samples: int, predictions: int, repeats: int) -> EvaluationCost:
    evaluate(*nuscenes_corpus(2, 20))
    truth, found = nuscenes_corpus(samples, predictions)
    times = []
    for _ in range(repeats):
        start = _now()
        result = evaluate(truth, found)
        assert 0 <= result.nds <= 1  # the means are a part of what is measured
        times.append(_now() - start)
    seconds, cpu_seconds = np.median(times, axis=0).tolist()
    values = dict(values_of(result))
    return EvaluationCost(samples, predictions, seconds, cpu_seconds, _peak_mb(), values)


def _devkit(samples: int, predictions: int) -> EvaluationCost:
    from nuscenes.eval.detection.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    truth, found = nuscenes_corpus(samples, predictions)
    evaluation = DetectionEval.__new__(DetectionEval)  # its constructor wants a database
    evaluation.cfg = config_factory(CVPR_2019.name)
    evaluation.verbose = False
    evaluation.gt_boxes = _devkit_boxes(truth.boxes[counting(truth.boxes, truth, CVPR_2019)], truth)
    evaluation.pred_boxes = _devkit_boxes(found[counting(found, truth, CVPR_2019)], truth)
    start = _now()
    metrics, _ = evaluation.evaluate()
    assert 0 <= metrics.nd_score <= 1
    seconds, cpu_seconds = (_now() - start).tolist()
    values = devkit_metric_values(metrics, CVPR_2019)
    return EvaluationCost(samples, predictions, seconds, cpu_seconds, _peak_mb(), values)


def _now() -> Floats:
    """By the clock, and of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def _devkit_boxes(boxes: Boxes, truth: GroundTruth) -> Any:  # Any: the devkit is untyped
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.detection.data_classes import DetectionBox

    answer = EvalBoxes()
    for token in truth.tokens:
        answer.add_boxes(token, [])
    for number, token in enumerate(truth.tokens[frame] for frame in boxes.frame):
        attribute = boxes.attribute[number]
        box = DetectionBox(
            sample_token=token,
            translation=tuple(boxes.center_m[number].tolist()),
            size=tuple(boxes.size_m[number].tolist()),
            rotation=tuple(boxes.rotation[number].tolist()),
            velocity=tuple(boxes.velocity[number].tolist()),
            detection_name=CLASSES[boxes.label[number]],
            detection_score=float(boxes.score[number]),
            attribute_name=ATTRIBUTES[attribute] if attribute >= 0 else "",
        )
        answer.boxes[token].append(box)
    return answer


def _peak_mb() -> float:
    """Highest resident memory of this process; ``getrusage`` would count its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
