"""From an evaluated results file to its accuracy record."""

import os
from collections.abc import Mapping
from pathlib import Path

from kd3d.evaluation.nuscenes.result import NuScenesResult
from kd3d.files import write_json
from kd3d.profiling.environment import environment
from kd3d.report.record import ACCURACY_FILE, Record

CURVES = "curves.json"


def write_results_record(
    result: NuScenesResult,
    results_file: str | Path,
    folder: str | Path,
    *,
    data: Mapping[str, str],
    role: str = "",
    name: str = "",
) -> Path:
    """Writes ``record-accuracy.json`` and ``curves.json`` of a results file into ``folder``.

    What is unknown about a file from elsewhere (config, checkpoint, parameters) is left empty.

    Args:
        result: of its evaluation.
        results_file: that was evaluated.
        folder: to write to; made if it is missing.
        data: what it was evaluated on: data_root, version, split, and what ``origin_of`` says.
        role: "teacher", "baseline", "control", "distilled", or "" if unknown.
        name: of the run; the file's name without its ending if empty.
    """
    folder = Path(folder)
    record = Record(
        kind="accuracy",
        role=role,
        name=name or Path(results_file).stem,
        metrics=result.metrics,
        per_class=result.per_class,
        dataset=dict(data),
        files={
            "predictions": os.path.relpath(results_file, folder),
            "curves": CURVES,
        },
        environment=environment(),
        conditions={"frames": result.frames, "evaluator": f"kd3d, {result.protocol.name}"},
    )
    record.check(folder / ACCURACY_FILE)  # before anything is written
    write_json(folder / CURVES, result.curve_points)
    return record.write(folder / ACCURACY_FILE)
