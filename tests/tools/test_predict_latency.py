"""tools/predict_latency.py: the table, the JSON, and what it refuses."""

import json

import onnx
import pytest
from onnx import TensorProto, helper


@pytest.fixture
def model(tmp_path):
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[32, 3, 3, 3])
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "w"], ["y"], name="stem")],
        "toy",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    path = tmp_path / "toy.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


@pytest.fixture
def pillars(tmp_path):
    """A file with a free number of pillars, in a folder of export.json."""
    graph = helper.make_graph(
        [helper.make_node("Conv", ["pillars", "w"], ["y"])],
        "toy",
        [helper.make_tensor_value_info("pillars", TensorProto.FLOAT, ["pillars", 8, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[32, 8, 1])],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    bounds = {"min": [1, 8, 5], "opt": [700, 8, 5], "max": [4000, 8, 5]}
    content = {
        "models": {"fp32": {"file": path.name, "sha256": "", "kept_fp32": []}},
        "inputs": [{"name": "pillars", "shape": [None, 8, 5], "dtype": "float32"}],
        "outputs": ["y"],
        "profiles": {"pillars": bounds},
    }
    (tmp_path / "export.json").write_text(json.dumps(content))
    return path


def test_a_free_size_is_that_of_the_export_beside_the_file(run, pillars):
    arguments = ("predict_latency.py", pillars, "--device", "agx-orin", "--json")
    told = json.loads(run(*arguments).stdout)
    assert told["gflops"] == pytest.approx(700 * 5 * 32 * 8 * 2 / 1e9)
    assert told["warnings"] == [
        'pillars 700: taken from "opt" of the export.json beside the file (--size pillars=N)'
    ]
    given = json.loads(run(*arguments, "--size", "pillars=100").stdout)
    assert given["gflops"] == pytest.approx(100 * 5 * 32 * 8 * 2 / 1e9)
    assert given["warnings"] == []


def test_a_folder_is_called_so_with_its_models(refused, model, tmp_path):
    other = model.with_name("int8.onnx")
    other.touch()
    text = f"{tmp_path}: is a folder; expected an ONNX file, "
    assert refused("predict_latency.py", tmp_path, "--device", "agx-orin") == (
        f"{text}one of {other}, {model}"
    )
    other.unlink()
    model.unlink()
    error = refused("predict_latency.py", tmp_path, "--device", "agx-orin")
    assert error == f"{text}but no .onnx file is in it (tools/export.py)"


@pytest.mark.parametrize("beside", ["nothing", "another file's", "damaged"])
def test_without_its_export_json_a_free_size_is_asked_for(refused, pillars, beside):
    path = pillars.with_name("export.json")
    if beside == "nothing":
        path.unlink()
    else:
        text = path.read_text().replace("model.onnx", "other.onnx")
        path.write_text(text if beside == "another file's" else "{}")
    error = refused("predict_latency.py", pillars, "--device", "agx-orin")
    assert "--size pillars=NUMBER" in error
    assert "no export.json beside the file says it" in error


def test_what_int8_leaves_in_float_can_be_chosen(run, tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["images"], ["y"])],
        "toy",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 8, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    path = tmp_path / "softmax.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    arguments = ("predict_latency.py", path, "--device", "agx-orin", "--precision", "int8")
    for kind in ("fp16", "fp32"):
        told = json.loads(run(*arguments, "--json", "--float-type", kind).stdout)
        (layer,) = [one for one in told["layers"] if one["operators"] == "Softmax"]
        assert layer["math"] == kind


def test_the_table_names_the_layers_and_the_total(run, model, tmp_path):
    out = tmp_path / "prediction.json"
    done = run("predict_latency.py", model, "--device", "agx-orin", "--batch", 2, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "stem" in done.stdout
    assert "Layers that cost most" in done.stdout
    written = json.loads(out.read_text())
    assert (written["device"], written["batch"]) == ("orin-agx-64gb:maxn", 2)
    assert f"{written['total_ms']:.2f} ms" in " ".join(done.stdout.split())


def test_the_summary_tells_the_types_that_the_file_states(run, model):
    """Q/DQ before the only convolution and its weight; --precision is left at fp16."""
    assert ", fp16, engine, batch 1: " in summary_of(run, model)
    file = onnx.load(model)
    file.graph.initializer.append(helper.make_tensor("s", TensorProto.FLOAT, [], [0.1]))
    file.graph.initializer.append(helper.make_tensor("z", TensorProto.INT8, [], [0]))
    for place, name in enumerate(("images", "w")):
        pair = (
            helper.make_node("QuantizeLinear", [name, "s", "z"], [f"{name}_q"]),
            helper.make_node("DequantizeLinear", [f"{name}_q", "s", "z"], [f"{name}_d"]),
        )
        file.graph.node[-1].input[place] = f"{name}_d"
        file.graph.node.insert(2 * place, pair[0])
        file.graph.node.insert(2 * place + 1, pair[1])
    onnx.save(file, model)
    assert ", int8, engine, batch 1: " in summary_of(run, model)


def summary_of(run, model):
    return " ".join(run("predict_latency.py", model, "--device", "agx-orin").stdout.split())


def test_an_earlier_file_is_replaced_only_when_asked(run, refused, model, tmp_path):
    out = tmp_path / "prediction.json"
    out.write_text("mine")
    given = ("predict_latency.py", model, "--device", "agx-orin", "--out", out)
    assert "--force" in refused(*given)
    assert out.read_text() == "mine"
    assert run(*given, "--force").returncode == 0
    assert json.loads(out.read_text())["precision"] == "fp16"


def test_json_is_all_that_is_printed(run, model):
    done = run("predict_latency.py", model, "--device", "orin-nx-16gb:25w", "--sms", 4, "--json")
    printed = json.loads(done.stdout)
    assert (printed["sms"], printed["gpu_mhz"]) == (4, 408)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--device", "agx-orion"], "did you mean"),
        (["--device", "agx-orin:80w"], "no power mode"),
        (["--device", "agx-orin", "--size", "rows=4"], "no free axis"),
        (["--device", "agx-orin", "--gpu-mhz", "-3"], "expected a number above 0"),
        (["--device", "agx-orin", "--gpu-mhz", "nan", "--json"], "gpu_mhz nan; expected"),
        (["--device", "agx-orin", "--sms", "1000000000"], "expected 1 to 16"),
        (["--device", "agx-orin", "--batch", "0"], "batch 0"),
        (["--device", "agx-orin", "--float-type", "fp32"], "nothing is int8 here"),
    ],
)
def test_mistakes_are_told_in_one_message(refused, model, options, says):
    assert says in refused("predict_latency.py", model, *options)


def test_a_file_that_is_no_model(refused, tmp_path):
    path = tmp_path / "notes.onnx"
    path.write_text("not a model")
    assert "notes.onnx" in refused("predict_latency.py", path, "--device", "agx-orin")
