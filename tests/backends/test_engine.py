"""Builds engines in every generation of TensorRT, faked from its real bindings."""

import json
import sys

import numpy as np
import pytest
from fake_tensorrt import VERSIONS
from toys_tensorrt import PROFILES, feeds, vehicle, write_onnx

from kd3d.backends.engine import RULES, engine_from_onnx
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.trt import TrtBackend
from kd3d.errors import UserError

WEAK = ("8.5.2.2", "8.6.0")
# behind the casts to float32 in the toy of half precision
SINGLE = {"norm", "exp", "reshape", "add", "reduce", "topk"}


@pytest.fixture
def model(tmp_path):
    return write_onnx(tmp_path / "model.onnx")


def build(model, folder, **settings):
    return engine_from_onnx(model, folder, profiles=PROFILES, **settings)


def test_there_is_a_fake_of_each_generation():
    assert {version.partition(".")[0] for version in VERSIONS} == {"8", "10", "11"}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "mixed"])
@pytest.mark.parametrize("version", VERSIONS)
def test_engine_answers_as_onnx_runtime_does(version, precision, tmp_path, monkeypatch):
    path = write_onnx(tmp_path / "model.onnx", precision)
    car = vehicle(monkeypatch, version)
    engine = build(path, tmp_path / "engines")
    with TrtBackend(engine) as backend, OnnxRuntimeBackend(path, threads=1) as reference:
        assert backend.output_names == ("scores", "best")
        for batch in (1, 4, 2):  # smaller, larger, smaller: memory is that of the largest
            expected, received = reference.infer(feeds(batch)), backend.infer(feeds(batch))
            assert received["scores"].shape == (batch, 4, 8, 8)
            for name, array in expected.items():
                np.testing.assert_array_equal(received[name], array)
    assert car.cudart.live() == 0


def test_more_images_than_the_profile_has_need_another_export(model, tmp_path, monkeypatch):
    vehicle(monkeypatch, "10.3.0")
    words = r"takes \(1, 3, 8, 8\) to \(4, 3, 8, 8\); .* export with --batch N"
    with (
        TrtBackend(build(model, tmp_path)) as backend,
        pytest.raises(UserError, match=words),
    ):
        backend.infer(feeds(5))


@pytest.mark.parametrize("version", VERSIONS)
def test_precision_comes_from_the_file(version, tmp_path, monkeypatch):
    car = vehicle(monkeypatch, version)
    for precision in ("fp32", "fp16", "int8"):
        path = write_onnx(tmp_path / f"{precision}.onnx", precision)
        engine = build(path, tmp_path)
        record = json.loads((tmp_path / f"{precision}.engine.json").read_text())
        flags = {"fp32": "FP32", "fp16": "FP16", "int8": "INT8"}[precision]
        weak = f"weakly typed, {flags}, held to the file's types"
        assert record["typing"] == (weak if version in WEAK else "strongly typed")
        assert car.world.networks[-1].strong == (version not in WEAK)
        assert engine == tmp_path / f"{precision}.engine"
        held = ["OBEY_PRECISION_CONSTRAINTS"] if precision == "fp16" else []
        weak_flags = [] if precision == "fp32" else [flags, *held]
        assert car.world.flags == (weak_flags if version in WEAK else [])


@pytest.mark.parametrize("infers_types", [True, False])
@pytest.mark.parametrize("version", WEAK)
def test_single_precision_layers_are_held_to_it(version, infers_types, tmp_path, monkeypatch):
    car = vehicle(monkeypatch, version)
    car.world.infers_types = infers_types
    build(write_onnx(tmp_path / "model.onnx", "fp16"), tmp_path)
    layers = {layer.name: layer for layer in car.world.networks[-1].layers}
    held = {name for name, layer in layers.items() if layer.precision is not None}
    assert held == SINGLE
    assert {layers[name].precision.name for name in held} == {"FLOAT"}
    assert all(layers[name].held == {0: "FLOAT"} for name in held)


@pytest.mark.parametrize("version", WEAK)
def test_quantized_layers_are_left_to_run_in_int8(version, tmp_path, monkeypatch):
    """A precision of its own would keep a layer behind DequantizeLinear from INT8."""
    car = vehicle(monkeypatch, version)
    build(write_onnx(tmp_path / "model.onnx", "mixed"), tmp_path)
    held = [layer.name for layer in car.world.networks[-1].layers if layer.precision is not None]
    assert set(held) == SINGLE
    assert car.world.flags == ["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"]


@pytest.mark.parametrize("version", VERSIONS)
def test_engine_is_used_again_until_something_changes(version, model, tmp_path, monkeypatch):
    car = vehicle(monkeypatch, version)
    first = build(model, tmp_path)
    content = first.read_bytes()
    assert build(model, tmp_path) == first
    assert car.world.builds == 1
    wider = {"images": {**PROFILES["images"], "max": [8, 3, 8, 8]}}
    engine_from_onnx(model, tmp_path, profiles=wider)
    assert car.world.builds == 2
    build(model, tmp_path, workspace_mb=64)
    assert car.world.builds == 3
    assert build(model, tmp_path).read_bytes() == content
    assert car.world.builds == 4
    write_onnx(model, "fp16")  # another file of the same name
    build(model, tmp_path)
    assert car.world.builds == 5


def test_engines_of_other_rules_are_built_again(model, tmp_path, monkeypatch):
    car = vehicle(monkeypatch, "10.3.0")
    build(model, tmp_path)
    monkeypatch.setattr("kd3d.backends.engine.RULES", RULES + 1)
    build(model, tmp_path)
    assert car.world.builds == 2


@pytest.mark.parametrize("place", ["out_dir", "timing_dir"])
def test_a_cache_that_cannot_be_written_is_told_before_the_build(
    place, model, tmp_path, monkeypatch
):
    car = vehicle(monkeypatch, "10.3.0")
    (tmp_path / "file").write_text("")
    places = {"out_dir": tmp_path, "timing_dir": tmp_path, place: tmp_path / "file"}
    with pytest.raises(UserError, match=r"expected to write in .*XDG_CACHE_HOME"):
        engine_from_onnx(model, profiles=PROFILES, **places)
    assert car.world.builds == 0


def test_other_weights_beside_the_file_build_again(model, tmp_path, monkeypatch):
    car = vehicle(monkeypatch, "10.3.0")
    build(model, tmp_path)
    key = json.loads((tmp_path / "model.engine.json").read_text())["key"]
    assert "external_sha256" not in key  # engines of older versions stay
    weights = tmp_path / "weights.data"
    weights.write_bytes(b"first")
    monkeypatch.setattr("kd3d.backends.engine.external_files", lambda path: [weights.name])
    build(model, tmp_path)
    build(model, tmp_path)
    assert car.world.builds == 2
    weights.write_bytes(b"second")
    build(model, tmp_path)
    assert car.world.builds == 3


def test_another_gpu_or_version_builds_again(model, tmp_path, monkeypatch):
    vehicle(monkeypatch, "10.3.0", gpu=("Orin", (8, 7)))
    engine = build(model, tmp_path)
    other_gpu = vehicle(monkeypatch, "10.3.0", gpu=("Thor", (11, 0)))
    with pytest.raises(UserError, match=r"plan file is not compatible(?s:.*)build it here"):
        TrtBackend(engine)
    build(model, tmp_path)
    assert other_gpu.world.builds == 1
    TrtBackend(engine)
    updated = vehicle(monkeypatch, "10.16.1.11", gpu=("Thor", (11, 0)))
    build(model, tmp_path)
    assert updated.world.builds == 1
    key = json.loads((tmp_path / "model.engine.json").read_text())["key"]
    assert (key["gpu"], key["compute_capability"], key["tensorrt"]) == (
        "Thor",
        "11.0",
        "10.16.1.11",
    )


def test_another_number_of_sms_builds_again(model, tmp_path, monkeypatch):
    car = vehicle(monkeypatch, "10.3.0")
    build(model, tmp_path)
    car.cudart.sms = 8  # another power mode, or another board of the same name
    build(model, tmp_path)
    build(model, tmp_path)
    assert car.world.builds == 2


@pytest.mark.parametrize("damage", ["engine", "record", "no record"])
def test_what_is_damaged_is_built_again(damage, model, tmp_path, monkeypatch):
    car = vehicle(monkeypatch, "10.3.0")
    engine = build(model, tmp_path)
    record = tmp_path / "model.engine.json"
    if damage == "engine":
        engine.write_bytes(engine.read_bytes()[:-1])
    elif damage == "record":
        record.write_text('{"key": 1')
    else:
        record.unlink()
    build(model, tmp_path)
    assert car.world.builds == 2


def test_timing_cache_saves_measuring(model, tmp_path, monkeypatch):
    caches = tmp_path / "caches"
    car = vehicle(monkeypatch, "10.3.0")
    build(model, tmp_path / "first", timing_dir=caches)
    measured = car.world.tuned
    assert measured > 0
    build(model, tmp_path / "second", timing_dir=caches)
    assert (car.world.builds, car.world.tuned) == (2, measured)
    assert not list((tmp_path / "second").glob("timing*"))


def test_machines_that_share_a_folder_keep_their_own_timing_cache(model, tmp_path, monkeypatch):
    orin, thor = ("Orin", (8, 7)), ("Thor", (11, 0))
    machines = [("10.3.0", orin, 16), ("10.3.0", thor, 16), ("8.6.0", orin, 16)]
    machines.append(("10.3.0", orin, 8))  # another power mode
    tuned = []
    for turn in range(2):
        for number, (version, gpu, sms) in enumerate(machines):
            car = vehicle(monkeypatch, version, gpu=gpu)
            car.cudart.sms = sms
            build(model, tmp_path / f"{turn}{number}", timing_dir=tmp_path)
            tuned.append(car.world.tuned)
    assert all(tuned[:4])
    assert tuned[4:] == [0] * 4
    assert len(list(tmp_path.glob("timing-*.cache"))) == 4


@pytest.mark.parametrize("content", [b"garbage", b'{"machine": ["9.0", "Orin"], "kernels": 99}'])
@pytest.mark.parametrize("version", VERSIONS)
def test_unfit_timing_cache_is_replaced(version, content, model, tmp_path, monkeypatch):
    car = vehicle(monkeypatch, version)
    build(model, tmp_path / "first", timing_dir=tmp_path)
    (cache,) = tmp_path.glob("timing-*.cache")
    cache.write_bytes(content)
    measured = car.world.tuned
    build(model, tmp_path / "second", timing_dir=tmp_path)
    assert car.world.tuned == 2 * measured
    assert json.loads(cache.read_bytes())["machine"] == [car.trt.__version__, "Orin"]


@pytest.mark.parametrize("version", VERSIONS)
def test_parser_speaks_for_itself(version, model, tmp_path, monkeypatch):
    car = vehicle(monkeypatch, version)
    car.world.unsupported = {"Exp", "TopK"}
    with pytest.raises(UserError) as caught:
        build(model, tmp_path / "engines")
    text = str(caught.value)
    assert "model.onnx" in text
    assert version in text
    assert text.count("UNSUPPORTED_NODE: No importer registered for op") == 2
    assert ("'exp' (Exp)" in text) == (version not in WEAK)  # TensorRT 8 names no node
    assert not (tmp_path / "engines").exists()


@pytest.mark.parametrize(
    ("profiles", "words"),
    [
        ({}, r"with a free size are \['images'\], but the profiles are of \[\]"),
        ({**PROFILES, "points": PROFILES["images"]}, r"of \['images', 'points'\]"),
        ({"images": {**PROFILES["images"], "opt": [9, 3, 8, 8]}}, "expected such shapes with min"),
        ({"images": {**PROFILES["images"], "max": [4, 3, 9, 8]}}, "expected such shapes with min"),
        ({"images": dict.fromkeys(("min", "opt", "max"), (1, 3, 8))}, "'images' is"),
    ],
)
def test_profiles_must_fit_the_inputs(profiles, words, model, tmp_path, monkeypatch):
    vehicle(monkeypatch, "11.4.0.106")
    with pytest.raises(UserError, match=words):
        engine_from_onnx(model, tmp_path, profiles=profiles)


def test_failed_build_says_why_and_leaves_nothing(model, tmp_path, monkeypatch):
    vehicle(monkeypatch, "8.6.0")
    with pytest.raises(UserError, match="cannot build an engine:\nError Code 4: no workspace"):
        build(model, tmp_path / "engines", workspace_mb=0)
    assert not (tmp_path / "engines").exists()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_failed_build_tells_that_layers_are_held_where_they_are(version, tmp_path, monkeypatch):
    vehicle(monkeypatch, version)
    for precision in ("fp32", "fp16"):
        path = write_onnx(tmp_path / f"{precision}.onnx", precision)
        with pytest.raises(UserError, match="no workspace") as caught:
            build(path, tmp_path / "engines", workspace_mb=0)
        held = precision == "fp16" and version in WEAK
        assert ("held to it (OBEY_PRECISION_CONSTRAINTS)" in str(caught.value)) == held


def test_warnings_are_kept_beside_the_engine(model, tmp_path, monkeypatch):
    vehicle(monkeypatch, "8.5.2.2")
    build(model, tmp_path)
    record = json.loads((tmp_path / "model.engine.json").read_text())
    assert record["warnings"] == ["TensorRT was linked against another cuDNN"]


def test_no_file_no_tensorrt_no_gpu(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(UserError, match="python3-libnvinfer"):
        build(model, tmp_path)
    car = vehicle(monkeypatch, "10.3.0", devices=0)
    with pytest.raises(UserError, match="no ONNX file"):
        build(tmp_path / "absent.onnx", tmp_path)
    with pytest.raises(UserError, match=r"libcudart\.so\.12: finds no GPU"):
        build(model, tmp_path)
    car.trt.__version__ = "8.4.1"
    with pytest.raises(UserError, match=r"8\.4\.1 is too old"):
        build(model, tmp_path)
