"""Runs engines through fakes of every generation of TensorRT, and the real one where it is."""

import gc
from contextlib import ExitStack, nullcontext

import numpy as np
import onnx
import pytest
from fake_cudart import Failure
from fake_tensorrt import VERSIONS
from toys_tensorrt import PROFILES, feeds, need_gpu, vehicle, write_onnx

from kd3d.backends.bundle import PRECISIONS
from kd3d.backends.cuda_runtime import CudaError
from kd3d.backends.engine import engine_from_onnx
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.trt import TrtBackend
from kd3d.errors import UserError


@pytest.fixture
def model(tmp_path):
    return write_onnx(tmp_path / "model.onnx")


def engine_of(model):
    return engine_from_onnx(model, model.parent, profiles=PROFILES)


@pytest.mark.parametrize("version", VERSIONS)
def test_inputs_are_as_the_engine_has_them(version, model, monkeypatch):
    vehicle(monkeypatch, version)
    specs = TrtBackend(engine_of(model)).inputs
    integers = "int32" if version.startswith("8.") else "int64"  # TensorRT 8 has no wider ones
    assert [(spec.name, spec.shape, spec.dtype) for spec in specs] == [
        ("images", (None, 3, 8, 8), "float32"),
        ("offset", (4,), integers),
    ]


def test_integers_that_do_not_fit_are_refused(model, monkeypatch):
    vehicle(monkeypatch, "8.6.0")
    wide = {**feeds(1), "offset": np.array([0, 0, 0, 1 << 31])}
    with TrtBackend(engine_of(model)) as backend:
        with pytest.raises(UserError, match="'offset': a value lies outside of 32 bits"):
            backend.infer(wide)
        narrow = {**feeds(1), "offset": feeds(1)["offset"].astype(np.int32)}
        np.testing.assert_array_equal(
            backend.infer(narrow)["scores"], backend.infer(feeds(1))["scores"]
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": np.zeros((5, 3, 8, 8), np.float32)}, r"takes \(1, 3, 8, 8\) to \(4, 3, 8, 8\)"),
        ({"images": np.zeros((1, 3, 8, 9), np.float32)}, r"expected float32 \(any, 3, 8, 8\)"),
        ({"images": np.zeros((1, 3, 8, 8))}, "got float64"),
        ({"points": np.zeros(1)}, "expected inputs"),
    ],
)
def test_unfit_feeds_are_named(change, words, model, monkeypatch):
    vehicle(monkeypatch, "10.3.0")
    with TrtBackend(engine_of(model)) as backend, pytest.raises(UserError, match=words):
        backend.infer({**feeds(1), **change})


def test_with_block_owns_the_memory(model, monkeypatch):
    car = vehicle(monkeypatch, "10.3.0")
    backend = TrtBackend(engine_of(model))
    with pytest.raises(AssertionError, match="inside its with block"):
        backend.infer(feeds(1))
    for _ in range(2):  # entering again after leaving works
        with backend:
            backend.infer(feeds(1))
            assert car.cudart.live() > 0
            taken = car.cudart.allocations
            for batch in (4, 2, 3):
                backend.infer(feeds(batch))
            assert car.cudart.allocations == taken  # another batch allocates nothing
        assert car.cudart.live() == 0


@pytest.fixture
def no_garbage_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collector")
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_what_it_holds_ends_at_once_and_in_order(version, fails, model, monkeypatch):
    car = vehicle(monkeypatch, version)
    engine, held = engine_of(model), 0
    backend = TrtBackend(engine)
    with pytest.raises(ZeroDivisionError) if fails else nullcontext() as error, backend:
        backend.infer(feeds(1))
        held = car.cudart.live()
        assert car.world.ended == []
        assert fails is False or 1 / 0
    assert held > 0
    in_order = [("IExecutionContext", held), ("ICudaEngine", 0), ("Runtime", 0)]
    assert car.world.ended == in_order
    with backend:
        backend.infer(feeds(1))
    assert car.world.ended == in_order * 2
    del error  # until here it kept the frames that ran


@pytest.mark.usefixtures("no_garbage_collector")
def test_a_graph_ends_before_its_context_and_a_run_before_its_engine(model, monkeypatch):
    car = vehicle(monkeypatch, "10.3.0")
    with TrtBackend(engine_of(model), cuda_graph=True) as backend:
        with backend.prepare(feeds(1)) as run:
            held = car.cudart.live()
        assert car.world.ended == [("IExecutionContext", held - 1)]
        assert car.cudart.live() == 0
        run.close()  # twice is no harm
        backend.layer_times(feeds(1))
        assert car.world.ended[1:] == [("IExecutionContext", held - 1)]
    assert [name for name, _ in car.world.ended[2:]] == ["ICudaEngine", "Runtime"]


@pytest.mark.usefixtures("no_garbage_collector")
def test_a_gpu_that_fails_does_not_keep_the_engine(model, monkeypatch):
    car = vehicle(monkeypatch, "10.3.0")

    def fail(stream):
        raise Failure(400)

    stack = ExitStack()
    stack.enter_context(TrtBackend(engine_of(model))).infer(feeds(1))
    car.cudart.cudaStreamDestroy.body = fail
    with pytest.raises(CudaError, match="cudaStreamDestroy"):
        stack.close()
    assert [name for name, _ in car.world.ended] == ["IExecutionContext", "ICudaEngine", "Runtime"]


@pytest.mark.usefixtures("no_garbage_collector")
def test_a_run_that_does_not_come_about_ends_its_context(model, monkeypatch):
    car = vehicle(monkeypatch, "10.3.0")
    with TrtBackend(engine_of(model)) as backend:
        car.cudart.memory_limit = 5000
        with pytest.raises(UserError, match="cudaMalloc") as error:
            backend.infer(feeds(1))
        assert [name for name, _ in car.world.ended] == ["IExecutionContext"]
    assert [name for name, _ in car.world.ended[1:]] == ["ICudaEngine", "Runtime"]
    del error


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_prepared_run_is_timed_in_its_parts(version, graph, model, monkeypatch):
    car = vehicle(monkeypatch, version)
    with OnnxRuntimeBackend(model, threads=1) as reference:
        expected = reference.infer(feeds(3))["scores"]
    with TrtBackend(engine_of(model), cuda_graph=graph) as backend:
        with backend.prepare(feeds(3)) as run:
            times = run.timed()
            # two inputs and two outputs, 0.25 ms each, and kernels of 1 ms, by the fake's clock
            assert times.host_to_device_ms == pytest.approx(0.5)
            assert times.device_ms == pytest.approx(1.0)
            assert times.device_to_host_ms == pytest.approx(0.5)
            assert times.enqueue_ms > 0
            np.testing.assert_array_equal(run.outputs()["scores"], expected)
            without = run.timed(copies=False)
            assert (without.host_to_device_ms, without.device_to_host_ms) == (0.0, 0.0)
            assert without.device_ms == pytest.approx(1.0)
        assert car.cudart.live() == 0  # this backend was never asked to infer


@pytest.mark.parametrize("version", VERSIONS)
def test_one_context_at_a_time_whatever_is_asked(version, model, monkeypatch):
    """Before TensorRT 10 a second one would get no profile, so no shapes."""
    vehicle(monkeypatch, version)
    with TrtBackend(engine_of(model)) as backend:
        expected = backend.infer(feeds(2))["scores"]
        with backend.prepare(feeds(3)) as run:
            run.timed()
        np.testing.assert_array_equal(backend.infer(feeds(2))["scores"], expected)
        assert backend.layer_times(feeds(4))
        np.testing.assert_array_equal(backend.infer(feeds(2))["scores"], expected)


def test_an_error_beside_an_open_engine_has_tensorrts_reason(model, tmp_path, monkeypatch):
    """TensorRT goes on logging to the first logger as long as a runtime lives."""
    car = vehicle(monkeypatch, "10.3.0")
    other = write_onnx(tmp_path / "other.onnx", "fp16")
    with TrtBackend(engine_of(model)):
        engine = engine_from_onnx(other, tmp_path / "other", profiles=PROFILES)
        assert "linked against another cuDNN" in engine.with_name("other.engine.json").read_text()
        engine.write_bytes(b"damaged")
        with pytest.raises(UserError, match="Magic tag does not match"):
            TrtBackend(engine)
    assert car.world.builds == 2


def test_graph_of_another_shape_is_dropped(model, monkeypatch):
    car = vehicle(monkeypatch, "10.3.0")
    engine = engine_of(model)
    with TrtBackend(engine, cuda_graph=True) as backend, backend.prepare(feeds(3)) as run:
        graphs = len(car.cudart.graphs)
        run.load(feeds(2))
        assert (graphs, len(car.cudart.graphs)) == (1, 0)
        run.timed()
        assert run.outputs()["scores"].shape[0] == 2
        run.load(feeds(4))
        run.capture()  # TensorRT prepares the new shape before it is recorded
        assert run.timed().device_ms == pytest.approx(1.0)


@pytest.mark.parametrize("version", VERSIONS)
def test_infer_launches_a_graph_that_is_captured_anew_for_another_shape(
    version, model, monkeypatch
):
    car = vehicle(monkeypatch, version)
    with OnnxRuntimeBackend(model, threads=1) as reference:
        expected = {batch: reference.infer(feeds(batch))["scores"] for batch in (2, 3)}
    captured = []
    with TrtBackend(engine_of(model), cuda_graph=True) as backend:
        for batch in (3, 3, 2, 2, 3):
            found = backend.infer(feeds(batch))["scores"]
            np.testing.assert_array_equal(found, expected[batch])
            captured.append(list(car.cudart.graphs))
    assert captured[0] == captured[1]
    assert captured[2] == captured[3]
    assert len({tuple(graphs) for graphs in captured}) == 3
    assert car.cudart.launches == 5
    assert car.cudart.live() == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_layer_times_have_the_inspectors_words(version, model, monkeypatch):
    vehicle(monkeypatch, version)
    with TrtBackend(engine_of(model)) as backend:
        layers = {layer.name: layer for layer in backend.layer_times(feeds(2))}
    assert layers["conv"].kind == "CONVOLUTION"
    assert layers["conv"].ms == pytest.approx(0.5)
    assert "FP32" in layers["conv"].precision
    assert "Row major linear" in layers["conv"].precision
    assert {"exp", "topk"} <= set(layers)


@pytest.mark.parametrize("version", VERSIONS)
def test_engine_with_plugins_is_loaded_by_another_process(version, model, monkeypatch):
    vehicle(monkeypatch, version)
    engine = engine_of(model)
    car = vehicle(monkeypatch, version)
    assert not car.world.plugins
    with TrtBackend(engine) as backend:
        backend.infer(feeds(1))


@pytest.mark.parametrize("content", [b"nothing", b""])
def test_damaged_engine_says_so(content, model, monkeypatch):
    vehicle(monkeypatch, "11.4.0.106")
    engine = engine_of(model)
    engine.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot load this engine:\nError Code 1.*Magic tag"):
        TrtBackend(engine)


def test_graphs_from_elsewhere_are_refused(model, monkeypatch):
    car = vehicle(monkeypatch, "10.3.0")
    engine = engine_of(model)
    car.world.data_dependent = {"best"}
    with TrtBackend(engine) as backend, pytest.raises(UserError, match="depends on values"):
        backend.infer(feeds(1))
    assert car.cudart.live() == 0
    car.world.on_host = {"offset"}
    with pytest.raises(UserError, match="'offset' holds a shape, not data"):
        TrtBackend(engine)


def test_absent_engine_says_so(tmp_path):
    with pytest.raises(UserError, match="no engine at"):
        TrtBackend(tmp_path / "absent.engine")


def test_full_memory_says_so_and_leaves_nothing(model, monkeypatch):
    car = vehicle(monkeypatch, "10.3.0")
    engine = engine_of(model)
    with TrtBackend(engine) as backend:
        car.cudart.memory_limit = 5000  # the images of the largest batch take 3072 bytes
        words = (
            r"cudaMalloc failed with cudaErrorMemoryAllocation.*: inputs and outputs take 0 MB on "
            r"the GPU .* 'images' \(4, 3, 8, 8\).*: export with --batch 1"
        )
        with pytest.raises(UserError, match=words):
            backend.infer(feeds(1))
        assert car.cudart.live() == 0
        car.world.contexts_left = 0
        words = r"cannot make an execution context(?s:.*)memory is full, .*export with --batch 1"
        with pytest.raises(UserError, match=words):
            backend.infer(feeds(1))


def test_int8_toy_has_what_tensorrt_needs_for_an_int8_convolution(tmp_path):
    graph = onnx.load(write_onnx(tmp_path / "model.onnx", "int8")).graph
    made = {name: node for node in graph.node for name in node.output}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    (convolution,) = (node for node in graph.node if node.op_type == "Conv")
    scales = []
    for name in convolution.input:
        dequantize = made[name]
        quantize = made[dequantize.input[0]]
        assert (dequantize.op_type, quantize.op_type) == ("DequantizeLinear", "QuantizeLinear")
        scales.append(shapes[quantize.input[1]])
    assert scales == [(), (4,)]  # one for the images, one for each channel of the kernel


def prove(path, *, error):
    """Builds an engine, compares it with ONNX Runtime, and takes its times.

    error: that is allowed, as a share of the largest score.
    """
    engine = engine_of(path)
    with TrtBackend(engine) as backend, OnnxRuntimeBackend(path, threads=1) as reference:
        expected = {batch: reference.infer(feeds(batch))["scores"] for batch in (1, 4)}
        for batch, scores in expected.items():
            difference = np.abs(backend.infer(feeds(batch))["scores"] - scores)
            assert difference.max() <= error * np.abs(scores).max()
        assert backend.layer_times(feeds(4))
    with TrtBackend(engine, cuda_graph=True) as backend:
        for batch, scores in expected.items():
            difference = np.abs(backend.infer(feeds(batch))["scores"] - scores)
            assert difference.max() <= error * np.abs(scores).max()
        with backend.prepare(feeds(4)) as run:
            assert run.timed().device_ms > 0
        assert engine_of(path) == engine  # used again, not built again


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("version", VERSIONS)
def test_proof_of_a_real_engine_runs_on_the_fakes(version, precision, tmp_path, monkeypatch):
    car = vehicle(monkeypatch, version)
    prove(write_onnx(tmp_path / "model.onnx", precision), error=0)
    assert car.world.builds == 1


@pytest.mark.gpu
@pytest.mark.trt
@pytest.mark.parametrize("precision", PRECISIONS)
def test_real_engine_answers_as_onnx_runtime_does(precision, tmp_path):
    """On a machine that has TensorRT and a GPU; it has not run anywhere yet."""
    need_gpu()
    # FP32 may run as TF32
    prove(
        write_onnx(tmp_path / "model.onnx", precision), error=2e-2 if precision == "fp16" else 2e-3
    )
