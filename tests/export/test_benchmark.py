import dataclasses
import itertools
import json
from pathlib import Path

import pytest
from toys_bundle import write_bundle

from kd3d.backends.ssh import Host
from kd3d.errors import UserError
from kd3d.export.benchmark import (
    Job,
    benchmark_exports,
    benchmark_on_host,
    check_records,
    jobs_of,
    record_of,
)
from kd3d.profiling.backend_latency import Measured, Options
from kd3d.report.record import Record

FOLDER = Path("student")


def test_records_of_different_measurements_do_not_replace_each_other():
    names = {
        Job(FOLDER, "onnxruntime"): "record-latency-onnxruntime.json",
        Job(FOLDER, "tensorrt", "int8"): "record-latency-tensorrt-int8.json",
        Job(FOLDER, "tensorrt", "fp16", "orin"): "record-latency-tensorrt-fp16-on-orin.json",
        Job(FOLDER, "tensorrt", host="orin"): "record-latency-tensorrt-on-orin.json",
        Job(FOLDER, "onnxruntime", settings="threads2"): "record-latency-onnxruntime-threads2.json",
    }
    assert {job: job.record_file.name for job in names} == names
    assert Job(FOLDER, "tensorrt", "int8").layers_file == FOLDER / "layers-tensorrt-int8.json"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"threads": 2}, "record-latency-onnxruntime-int8-threads2-on-orin.json"),
        ({"threads": None, "batch": 4, "graph": True}, "..-int8-batch4-graph-on-orin.json"),
        ({"threads": None, "batch": None, "graph": False}, "..-int8-on-orin.json"),
    ],
)
def test_the_name_of_a_record_carries_the_settings(settings, name):
    (job,) = jobs_of([FOLDER], ["onnxruntime"], ["int8"], "orin", settings)
    assert job.record_file.name == name.replace("..", "record-latency-onnxruntime")


def test_pytorch_is_left_out_where_it_has_no_such_precision():
    jobs = jobs_of([FOLDER, Path("teacher")], ["onnxruntime", "pytorch"], ["fp32", "int8"])
    assert [str(job) for job in jobs] == [
        *("student: onnxruntime fp32", "student: onnxruntime int8", "student: pytorch fp32"),
        *("teacher: onnxruntime fp32", "teacher: onnxruntime int8", "teacher: pytorch fp32"),
    ]
    with pytest.raises(UserError, match="expected --precision fp32"):
        jobs_of([FOLDER], ["pytorch"], ["int8"])


def test_what_is_asked_for_twice_is_measured_once():
    jobs = jobs_of([FOLDER, FOLDER], ["onnxruntime"] * 2, ["fp16", "int8", "fp16"], "orin")
    assert [(job.folder, job.precision) for job in jobs] == [(FOLDER, "fp16"), (FOLDER, "int8")]


def test_two_folders_in_turns(tmp_path):
    one, two = write_bundle(tmp_path / "one"), write_bundle(tmp_path / "two")
    Record(kind="export", role="teacher", name="t/seed0", metrics={}).write(
        one / "record-export.json"
    )
    now = itertools.count(step=1_500_000)  # each reading 1.5 ms after the one before
    jobs = jobs_of([one, two], ["onnxruntime"], ["fp32"])
    records = benchmark_exports(jobs, Options(threads=1, batch=2), clock=lambda: next(now))
    assert [(record.role, record.name) for record in records] == [("teacher", "t/seed0"), ("", "")]
    for record in records:
        assert record.metrics["p50_ms"] == 1.5
        assert record.metrics["throughput_fps"] == pytest.approx(2 / 1.5e-3)
        assert (record.config, record.parameters) == ("toy.py", 64)
        assert record.files == {"model": "model.onnx"}
        expected = {"precision": "fp32", "input": "8", "batch": 2, "threads": 1, "turns": 10}
        assert expected.items() <= record.conditions.items()
        assert "host" not in record.conditions
    records[0].write(jobs[0].record_file)  # is as the schema says


def test_a_latency_takes_the_backends_own_float32(tmp_path, monkeypatch):
    """With TF32 where PyTorch or ONNX Runtime take it; only comparisons go without."""
    opened = []

    def measure(arms, *_, **__):
        opened.extend(arm.backend for arm in arms)
        return [Measured({"p50_ms": 1.0}, {}, {}) for _ in arms]

    monkeypatch.setattr("kd3d.export.benchmark.measure_backends", measure)
    benchmark_exports([Job(write_bundle(tmp_path), "onnxruntime")])
    assert [backend.exact for backend in opened] == [False]


def test_mistakes(tmp_path):
    folder = write_bundle(tmp_path / "bundle", batch=1)
    with pytest.raises(UserError, match="199 iterations"):
        benchmark_exports([Job(folder, "onnxruntime")], Options(iterations=199))
    for flag in ("cuda_graph", "layers"):
        wanted = f"--{flag.replace('_', '-')}: only TensorRT"
        with pytest.raises(UserError, match=wanted):
            benchmark_exports([Job(folder, "onnxruntime")], Options(**{flag: True}))
        with pytest.raises(UserError, match=wanted):
            benchmark_on_host([Job(folder, "onnxruntime")], Host("o"), Options(**{flag: True}))
    with pytest.raises(UserError, match="batch 4"):
        benchmark_exports([Job(folder, "onnxruntime")], Options(batch=4))
    with pytest.raises(UserError, match="no export folder"):
        benchmark_exports([Job(tmp_path, "onnxruntime")])
    with pytest.raises(UserError, match="pytorch does not run on a vehicle"):
        benchmark_on_host([Job(folder, "pytorch", host="orin")], Host("me@orin"))


def test_layers_lie_beside_the_record(tmp_path):
    job = Job(write_bundle(tmp_path / "bundle"), "tensorrt", host="orin")
    layers = [{"name": "conv", "ms": 0.5, "kind": "CaskConvolution", "precision": "FP16"}]
    measured = Measured({"p50_ms": 1.0}, {"backend": "tensorrt"}, {"machine": "Orin"}, layers)
    record = record_of(job, measured)
    assert record.files["layers"] == "layers-tensorrt-on-orin.json"
    assert json.loads(job.layers_file.read_text()) == {"layers": layers}
    assert record.conditions == {"backend": "tensorrt", "host": "orin"}
    without = dataclasses.replace(measured, layers=[])
    assert "layers" not in record_of(job, without).files


def test_a_vehicle_measures_each_folder_by_itself(tmp_path, monkeypatch):
    folders = [write_bundle(tmp_path / name, precisions=("fp32", "int8")) for name in "ab"]
    asked = []

    def measure(folder, host, *, backends, precisions, options, **settings):
        asked.append((folder, host.address, backends, precisions, options.batch))
        pairs = itertools.product(backends, precisions)
        return [Measured({"p50_ms": 1.0}, {"precision": p}, {}) for _, p in pairs]

    monkeypatch.setattr("kd3d.export.benchmark.measure_on_host", measure)
    jobs = jobs_of(folders, ["onnxruntime"], ["fp32", "int8"], "orin")
    records = list(benchmark_on_host(jobs, Host("me@orin"), Options(batch=2)))
    assert asked == [
        (folder, "me@orin", ["onnxruntime"], ["fp32", "int8"], 2) for folder in folders
    ]
    found = [(record.conditions["precision"], record.files["model"]) for record in records]
    assert found == [("fp32", "model.onnx"), ("int8", "model-int8.onnx")] * 2


def test_a_batch_that_no_engine_takes_is_told_before_one_is_built(tmp_path, monkeypatch):
    folder = write_bundle(tmp_path)
    content = json.loads((folder / "export.json").read_text())
    content["profiles"] = {"x": {"min": [1, 8], "opt": [1, 8], "max": [4, 8]}}
    (folder / "export.json").write_text(json.dumps(content))
    opened = []
    monkeypatch.setattr(
        "kd3d.export.benchmark.open_backend", lambda *args, **options: opened.append(args)
    )
    with pytest.raises(UserError, match=r"takes 1 to 4; export it with --batch 5"):
        benchmark_exports([Job(folder, "tensorrt")], Options(batch=5))
    assert opened == []


def test_records_that_cannot_be_written_are_told_before_the_run(tmp_path):
    folder = write_bundle(tmp_path / "bundle")
    jobs = jobs_of([folder], ["onnxruntime"], ["fp32"])
    check_records(jobs, force=False)
    check_records(jobs_of([tmp_path / "absent"], ["onnxruntime"], ["fp32"]), force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]  # a wrong path makes no folder
    (folder / "record-latency-onnxruntime-no").write_text("")  # where the next one wants a folder
    sealed = dataclasses.replace(jobs[0], precision="no/such")
    with pytest.raises(UserError, match=r"expected to write in .*copy the folder elsewhere"):
        check_records([sealed], force=True)
