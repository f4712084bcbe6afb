from types import SimpleNamespace

import pytest
import toys
import toys3d
from mmengine.config import Config

from kd3d.export.detector import build_detector
from kd3d.profiling.roofline import Prediction
from kd3d.recipes.latency_table import DetectorLatency, detector_latencies, markdown


@pytest.fixture
def configs(tmp_path):
    """A student with a teacher, the same student alone, and one twice as wide."""
    hook = toys.distill_hook(str(tmp_path / "big.py"), [toys.neck_pair()])
    for name, config in {
        "big": toys.training(tmp_path, toys.retinanet(8, 16)),
        "distilled": toys.training(tmp_path, toys.retinanet(), hooks=[hook]),
        "alone": toys.training(tmp_path, toys.retinanet()),
    }.items():
        Config(config._cfg_dict).dump(tmp_path / f"{name}.py")
    return tmp_path


def test_each_different_detector_is_a_row_teachers_included(configs):
    paths = [configs / "alone.py", configs / "distilled.py"]
    rows = list(detector_latencies(paths, ["orin-agx-64gb", "orin-nano-8gb"], ["fp16", "int8"]))
    assert [row.names for row in rows] == [("alone", "distilled"), ("big",)]
    student, teacher = rows
    detector = build_detector(toys.training(configs, toys.retinanet()))
    count = sum(parameter.numel() for parameter in detector.parameters())
    assert student.parameters_m == pytest.approx(count / 1e6)
    assert student.input == "64 x 64 px"
    assert [(p.device, p.precision) for p in student.predictions] == [
        *[("orin-agx-64gb:maxn", "fp16"), ("orin-agx-64gb:maxn", "int8")],
        *[("orin-nano-8gb:15w", "fp16"), ("orin-nano-8gb:15w", "int8")],
    ]
    assert teacher.predictions[0].gflops > 2 * student.predictions[0].gflops
    assert not student.reason


def test_a_detector_that_cannot_be_exported_is_a_row_with_the_reason(tmp_path):
    model = toys3d.voxel_centerpoint()
    Config({"default_scope": "mmdet3d", "model": model}).dump(tmp_path / "voxels.py")
    (row,) = detector_latencies([tmp_path / "voxels.py"], ["orin-agx-64gb"], ["fp16"])
    assert (row.names, row.predictions, row.input) == (("voxels",), (), "")
    assert "cannot export CenterPoint" in row.reason
    assert row.parameters_m > 0


def _prediction(total_ms: float) -> Prediction:
    return SimpleNamespace(
        total_ms=total_ms, low_ms=total_ms - 0.5, high_ms=total_ms + 0.5, gflops=25.04
    )


def test_the_table_by_hand():
    rows = [
        DetectorLatency(
            names=("a-longer", "a", "an"),
            parameters_m=0.983,
            input="64 x 64 px",
            predictions=(_prediction(4.06), _prediction(3.0)),
            reason="",
        ),
        DetectorLatency(
            names=("voxels",), parameters_m=8.94, input="", predictions=(), reason="no"
        ),
    ]
    assert markdown(rows, ["fp16", "int8"]).splitlines() == [
        "| detector | input | M parameters | GFLOPs | fp16, ms | int8, ms |",
        "|---|---|---|---|---|---|",
        "| `a` and 2 more | 64 x 64 px | 0.98 | 25.0 | 4.1 (3.6 to 4.6) | 3.0 (2.5 to 3.5) |",
        "| `voxels` |  | 8.94 |  | cannot be exported |  |",
    ]
