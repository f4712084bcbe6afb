"""Writes nuScenes' results file, which the benchmark's server and the devkit read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kd3d.evaluation.nuscenes.boxes import Boxes
from kd3d.evaluation.nuscenes.protocol import ATTRIBUTES, CLASSES
from kd3d.files import write_text


def write_results(
    path: str | Path, boxes: Boxes, tokens: Sequence[str], *, meta: Mapping[str, bool]
) -> Path:
    """Writes predictions; every sample is listed, in the order of its first box, then the rest.

    Reading the file and evaluating it gives the same numbers as ``boxes``.

    Args:
        path: to write, whole or not at all.
        boxes: predictions; those of one frame lie together.
        tokens: sample tokens of all frames.
        meta: such as use_camera and use_lidar.
    """
    # The order of the samples decides between equal scores.
    listed = range(len(tokens)) if bool(np.all(np.diff(boxes.frame) >= 0)) else boxes.frame.tolist()
    results: dict[str, list[dict[str, object]]] = {tokens[frame]: [] for frame in listed}
    columns = (
        boxes.frame.tolist(),
        boxes.center_m.tolist(),
        boxes.size_m.tolist(),
        boxes.rotation.tolist(),
        boxes.velocity.tolist(),
        boxes.label.tolist(),
        boxes.score.tolist(),
        boxes.attribute.tolist(),
    )
    for frame, center_m, size_m, rotation, velocity, label, score, attribute in zip(
        *columns, strict=True
    ):
        box = {
            "sample_token": tokens[frame],
            "translation": center_m,
            "size": size_m,
            "rotation": rotation,
            "velocity": velocity,
            "detection_name": CLASSES[label],
            "detection_score": score,
            "attribute_name": ATTRIBUTES[attribute] if attribute >= 0 else "",
        }
        results[tokens[frame]].append(box)
    results |= {token: [] for token in tokens if token not in results}
    return write_text(path, json.dumps({"meta": dict(meta), "results": results}))
