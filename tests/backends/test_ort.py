import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.errors import UserError


@pytest.fixture
def doubling(tmp_path):
    """An ONNX file, y = x + x, of free batch size."""
    tensor = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])], "g", *[[t] for t in tensor]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "double.onnx"
    onnx.save(model, path)
    return path


def test_runs_with_specs_of_the_file(doubling):
    backend = OnnxRuntimeBackend(doubling, threads=1)
    assert [(s.name, s.shape, s.dtype) for s in backend.inputs] == [("x", (None, 2), "float32")]
    assert backend.output_names == ("y",)
    for _ in range(2):  # entering again after leaving works
        with backend:
            outputs = backend.infer({"x": np.float32([[1, 2]])})
    np.testing.assert_array_equal(outputs["y"], [[2, 4]])
    with pytest.raises(AssertionError, match="inside its with block"):  # the session is released
        backend.infer({"x": np.float32([[1, 2]])})


@pytest.mark.parametrize(
    ("version", "options"),
    [("1.32.0", {"use_tf32": "0"}), ("1.18.1", {"use_tf32": "0"}), ("1.17.3", {})],
)
def test_cuda_is_opened_without_tf32_where_that_can_be_said_but_for_latencies(
    doubling, monkeypatch, version, options
):
    opened, session = [], onnxruntime.InferenceSession

    def open_on_the_cpu(path, settings, providers):
        opened.extend(providers)
        return session(path, settings, providers=providers[-1:])

    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "__version__", version)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_on_the_cpu)
    OnnxRuntimeBackend(doubling, threads=1)
    OnnxRuntimeBackend(doubling, threads=1, exact=False)
    assert opened == [(both[0], options), both[1], (both[0], {}), both[1]]


@pytest.mark.parametrize(
    ("given", "exact", "used"), [(None, True, 3), (2, True, 2), (None, False, 0)]
)
def test_comparisons_use_the_threads_of_openmp(doubling, monkeypatch, given, exact, used):
    """A latency is of ONNX Runtime's own choice (0) where nobody asks for a number."""
    opened = []

    def session(path, settings, providers):
        opened.append(settings.intra_op_num_threads)
        return onnxruntime_session(path, settings, providers=providers)

    onnxruntime_session = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    OnnxRuntimeBackend(doubling, threads=given, exact=exact)
    assert opened == [used]


def test_sums_of_int8_products_do_not_saturate(tmp_path):
    """On processors without VNNI, ONNX Runtime adds pairs of products in 16 bits by default."""
    node, arrays = helper.make_node, {"w": np.full((64, 4), 127, np.int8), "zero": np.int8(0)}
    largest = 64 * 127 * 127
    arrays.update(one=np.float32(1), scale=np.float32(largest / 127))
    nodes = [
        node("QuantizeLinear", ["x", "one", "zero"], ["x8"]),
        node("DequantizeLinear", ["x8", "one", "zero"], ["xf"]),
        node("DequantizeLinear", ["w", "one", "zero"], ["wf"]),
        node("MatMul", ["xf", "wf"], ["p"]),
        node("QuantizeLinear", ["p", "scale", "zero"], ["p8"]),
        node("DequantizeLinear", ["p8", "scale", "zero"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(*v) for v in (("x", 1, [1, 64]), ("y", 1, [1, 4])))
    weights = [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in arrays.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "int8.onnx")
    with OnnxRuntimeBackend(tmp_path / "int8.onnx", threads=1) as backend:
        outputs = backend.infer({"x": np.full((1, 64), 127, np.float32)})
    np.testing.assert_allclose(outputs["y"], largest, rtol=1e-6)


def test_missing_and_broken_files_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="no ONNX file"):
        OnnxRuntimeBackend(tmp_path / "absent.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(UserError, match="cannot load"):
        OnnxRuntimeBackend(broken)
