"""Exported bundles on TensorRT, as a vehicle runs them: faked in every generation, real on a GPU.

The fakes calculate with ONNX Runtime, so an engine is as right as its file, unless one of its
layers was made wrong.
"""

import json
import shutil
from dataclasses import asdict

import numpy as np
import onnx
import pytest
from fake_cudart import COPY_MS, KERNELS_MS
from fake_tensorrt import VERSIONS
from toys_export import image_bundle, pillar_bundle
from toys_tensorrt import need_gpu, vehicle, wrong_layer

from kd3d.backends.bundle import PRECISIONS, Bundle
from kd3d.backends.open_bundle import engine_cache, open_bundle
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.tolerances import Tolerances
from kd3d.errors import UserError
from kd3d.export.benchmark import benchmark_exports, jobs_of
from kd3d.export.gate.parity_gate import parity_gate, verdict_record
from kd3d.export.proof import parity_text
from kd3d.profiling.backend_latency import Options
from kd3d.profiling.on_vehicle import main

KINDS = ("images", "pillars")
LAYERS = {
    "images": "/bbox_head/retina_cls/Conv",
    "pillars": "/pts_bbox_head/shared_conv/conv/Conv",
}
FAULTS = [  # each version, and each precision of each kind
    ("8.5.2.2", "images", "fp32"),
    ("8.5.2.2", "pillars", "int8"),
    ("8.6.0", "images", "fp16"),
    ("8.6.0", "pillars", "fp32"),
    ("10.3.0", "images", "int8"),
    ("10.3.0", "pillars", "fp16"),
    ("10.16.1.11", "images", "fp32"),
    ("10.16.1.11", "pillars", "int8"),
    ("11.4.0.106", "images", "fp16"),
    ("11.4.0.106", "pillars", "int8"),
]
MEASURED = [
    *((version, "images", ("fp16", "int8")) for version in VERSIONS),
    *((version, "pillars", ("fp32",)) for version in ("8.6.0", "10.3.0", "11.4.0.106")),
]
LAST_LAYERS = {"images": 4, "pillars": 12}  # two heads on two levels; six heads of two tasks
WEAK = "weakly typed, {}, held to the file's types"  # TensorRT 8


@pytest.fixture(scope="module")
def exported(build, tmp_path_factory):
    """The bundle of a kind, in fp32, fp16 and int8; made once, so copy it before it is used."""
    made = {}

    def get(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            given = build("retinanet") if kind == "images" else ()
            made[kind] = (image_bundle if given else pillar_bundle)(folder, *given)
        return made[kind]

    return get


@pytest.fixture
def bundle(exported, tmp_path, monkeypatch):
    """A copy of the bundle of a kind, of a user without engines."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda kind: shutil.copytree(exported(kind), tmp_path / kind)


def gate(folder, *, frames=0, **options):
    """Of the sample, which is a real image or frame, and of more from the test set."""
    silent = {"say": lambda text: None}
    return parity_gate(folder, backends=["tensorrt"], frames=frames, **silent, **options)


def engines_of(folder):
    """Precision to the engine that ``open_backend`` and on_vehicle keep."""
    return {
        precision: (engine_cache() / model.sha256[:12] / model.file).with_suffix(".engine")
        for precision, model in Bundle.read(folder).models.items()
    }


def typing_of(version, precision):
    """What the record beside an engine says."""
    words = {"fp32": "FP32", "fp16": "FP16", "int8": "INT8"}
    return WEAK.format(words[precision]) if version.startswith("8.") else "strongly typed"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_engines_answer_as_onnx_runtime_does_from_least_to_most(version, kind, bundle, monkeypatch):
    found = Bundle.read(bundle(kind))
    car = vehicle(monkeypatch, version)
    sample = found.sample_feeds()
    assert tuple(found.models) == PRECISIONS
    for precision in PRECISIONS:
        with (
            OnnxRuntimeBackend(found.model_path(precision), threads=1) as reference,
            open_bundle(found, "tensorrt", precision=precision) as backend,
        ):
            assert backend.output_names == found.output_names
            for feeds in (sample, resized(sample, found, "min"), resized(sample, found, "max")):
                expected, received = reference.infer(feeds), backend.infer(feeds)
                assert set(received) == set(expected)
                for name, array in expected.items():
                    np.testing.assert_array_equal(received[name], array)
            one_more = {name: np.concatenate([array, array[:1]]) for name, array in feeds.items()}
            with pytest.raises(UserError, match=r"got shape .* the engine takes"):
                backend.infer(one_more)
    assert car.world.builds == len(PRECISIONS)
    assert all(engine.is_file() for engine in engines_of(found.folder).values())
    assert car.cudart.live() == 0


def resized(feeds, bundle, bound):
    """The inputs repeated to the least or the most that the bundle's profiles let in."""
    return {name: np.resize(array, bundle.profiles[name][bound]) for name, array in feeds.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_right_bundle_passes_the_gate(version, kind, bundle, monkeypatch):
    folder = bundle(kind)
    car = vehicle(monkeypatch, version)
    found = gate(folder)
    check_gate(found, kind)
    assert all(engine.is_file() for engine in engines_of(folder).values())
    # each file, and with its last layers as outputs, too
    assert car.world.builds == 2 * len(PRECISIONS)
    assert car.cudart.live() == 0


def check_gate(found, kind):
    """Every precision ran in TensorRT and agrees with PyTorch, its last layers too."""
    names = [(verdict.backend, verdict.precision) for verdict in found.verdicts]
    assert names == [("tensorrt", precision) for precision in PRECISIONS]
    for verdict in found.verdicts:
        assert verdict.passed, parity_text(verdict.parity, verdict.precision)
        heads = 0 if verdict.precision == "fp32" else LAST_LAYERS[kind]
        assert len(verdict.parity.heads) == heads
    assert found.passed, found.inputs.faults
    assert not found.left_out


@pytest.mark.parametrize(("version", "kind", "precision"), FAULTS)
def test_a_layer_that_only_tensorrt_gets_wrong_is_named(
    version, kind, precision, bundle, monkeypatch
):
    folder = bundle(kind)
    car = vehicle(monkeypatch, version, wrong_layer(LAYERS[kind], 0.02))
    found = gate(folder, precisions=[precision])
    (verdict,) = found.verdicts
    assert not found.passed
    assert verdict.departure.first.node == LAYERS[kind]
    # the file, with its last layers as outputs, too, and each probe
    assert car.world.builds == 2 + verdict.departure.probes
    record = verdict_record(folder, found, verdict)
    assert (record.conditions["backend"], record.conditions["passed"]) == ("tensorrt", False)
    assert record.conditions["departs_at"] == LAYERS[kind]


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_a_channel_that_no_box_shows_is_found_in_the_engines_last_layers(
    version, bundle, monkeypatch
):
    folder, name = bundle("images"), "/bbox_head/retina_reg_1/Conv"
    graph = onnx.load(folder / "model.onnx").graph
    weights = next(node for node in graph.node if node.name == name).input[1]
    channels = next(tensor.dims[0] for tensor in graph.initializer if tensor.name == weights)
    factor = np.ones((1, channels, 1, 1))
    factor[0, channels // 2] = 0
    vehicle(monkeypatch, version, wrong_layer(name, factor))
    (verdict,) = gate(folder, precisions=["int8"]).verdicts
    assert verdict.parity.tensors_agree
    assert verdict.parity.boxes_agree
    assert not verdict.parity.heads_agree
    assert not verdict.passed
    assert verdict.departure.first.node == name


def test_fp32_engines_may_differ_as_tf32_does(bundle, monkeypatch):
    folder = bundle("images")
    vehicle(monkeypatch, VERSIONS[-1], wrong_layer(LAYERS["images"], 1.003))
    assert gate(folder, precisions=["fp32"]).passed
    assert not gate(folder, precisions=["fp32"], changes=asdict(Tolerances())).passed


@pytest.mark.parametrize(("version", "kind", "precisions"), MEASURED)
def test_it_is_measured_on_the_vehicle(
    version, kind, precisions, bundle, monkeypatch, tmp_path, capsys
):
    folder, out = bundle(kind), tmp_path / "result.json"
    car = vehicle(monkeypatch, version)
    main(
        [
            *(str(folder), "--backend", "tensorrt", "--precision", *precisions),
            *("--cuda-graph", "--layers", "--energy-s", "0", "--out", str(out)),
        ]
    )
    results = json.loads(out.read_text())["results"]
    assert [one["conditions"]["precision"] for one in results] == list(precisions)
    for precision, one in zip(precisions, results, strict=True):
        metrics, conditions = one["metrics"], one["conditions"]
        assert engines_of(folder)[precision].is_file()
        assert (conditions["backend"], conditions["device"]) == ("tensorrt", "cuda")
        assert conditions["typing"] == typing_of(version, precision)
        assert conditions["cuda_graph"] is True
        inputs = len(Bundle.read(folder).inputs)
        assert metrics["h2d_p50_ms"] == pytest.approx(inputs * COPY_MS)
        assert metrics["device_p50_ms"] == pytest.approx(KERNELS_MS)
        assert metrics["iterations"] == 200
        assert ("voxelization_p50_ms" in metrics) == (kind == "pillars")
        assert LAYERS[kind] in {layer["name"] for layer in one["layers"]}
    lines = capsys.readouterr().out.splitlines()[-len(precisions) - 1 :]
    assert [line.partition(": p50 ")[0] for line in lines[:-1]] == [
        f"tensorrt {precision}" for precision in precisions
    ]
    assert car.cudart.live() == 0


def prove(folder, kind):
    """What a GPU's owner does with a bundle: engines built, gate passed, latency of the device."""
    found = gate(folder, frames=4)
    check_gate(found, kind)
    assert [verdict.parity.inputs for verdict in found.verdicts] == [5] * len(PRECISIONS)
    jobs = jobs_of([folder], ["tensorrt"], PRECISIONS)
    options = Options(layers=True, cuda_graph=True, energy_s=0)
    records = benchmark_exports(jobs, options)
    for job, record in zip(jobs, records, strict=True):
        assert engines_of(folder)[job.precision].is_file()
        metrics = record.metrics
        assert 0 < metrics["device_min_ms"] <= metrics["device_p50_ms"] <= metrics["device_p99_ms"]
        assert metrics["h2d_p50_ms"] > 0
        assert record.conditions["precision"] == job.precision
        assert json.loads(job.layers_file.read_text())["layers"]
        record.write(job.record_file)  # is as the schema says


@pytest.mark.parametrize("kind", KINDS)
def test_proof_of_a_real_engine_runs_on_the_fakes(kind, bundle, monkeypatch):
    folder = bundle(kind)
    car = vehicle(monkeypatch, "10.3.0")
    prove(folder, kind)
    assert car.world.builds == 2 * len(PRECISIONS)  # measured are the engines of the gate


@pytest.mark.gpu
@pytest.mark.trt
@pytest.mark.parametrize("kind", KINDS)
def test_real_engines_pass_the_gate_and_are_measured(kind, bundle):
    """On a machine that has TensorRT and a GPU; it has not run anywhere yet."""
    need_gpu()
    prove(bundle(kind), kind)
