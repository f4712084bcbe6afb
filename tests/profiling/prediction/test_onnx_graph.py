import onnx
import pytest
from onnx import TensorProto, helper

from kd3d.errors import UserError
from kd3d.profiling.prediction import shape_folding
from kd3d.profiling.prediction.onnx_graph import graph_from_onnx


def _float(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _weight(name, dims, *, external=False):
    """A weight without values, as a stripped file or one with its data elsewhere has it."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
    if external:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="not-here.bin")
    return tensor


def _model(nodes, inputs, outputs, weights=()):
    graph = helper.make_graph(nodes, "toy", inputs, outputs, list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def _conv(*, external=False):
    node = helper.make_node("Conv", ["images", "w"], ["y"], pads=[1, 1, 1, 1], name="conv")
    return _model(
        [node],
        [_float("images", ["batch", 3, 8, 8])],
        [_float("y", ["batch", 4, "h", "w"])],
        [_weight("w", [4, 3, 3, 3], external=external)],
    )


@pytest.mark.parametrize("external", [False, True])
def test_shapes_need_no_weights(external):
    graph = graph_from_onnx(_conv(external=external), batch=2)
    assert graph.tensors["y"].shape == (2, 4, 8, 8)
    assert graph.tensors["w"].constant
    assert (graph.batch, graph.free_batch, graph.inputs) == (2, True, ("images",))


def test_a_weight_that_is_an_input_is_no_input():
    model = _conv()
    del model.graph.initializer[:]
    model.graph.input.append(_float("w", [4, 3, 3, 3]))
    assert graph_from_onnx(model).inputs == ("images",)


def test_the_file_is_left_as_it_is():
    model = _conv()
    before = model.SerializeToString()
    graph_from_onnx(model, batch=3)
    assert model.SerializeToString() == before


def test_computed_shapes_are_followed():
    """Half the height by Shape, Gather, Div and Concat, as traced detectors write it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "two"], ["height"]),
        helper.make_node("Div", ["height", "halves"], ["half"]),
        helper.make_node("Concat", ["front", "half", "back"], ["sizes"], axis=0),
        helper.make_node("Reshape", ["x", "sizes"], ["y"]),
        helper.make_node("Relu", ["y"], ["z"], name="relu"),
    ]
    constants = {"two": [2], "halves": [2], "front": [1, 3], "back": [20]}
    weights = [helper.make_tensor(k, TensorProto.INT64, [len(v)], v) for k, v in constants.items()]
    graph = graph_from_onnx(
        _model(nodes, [_float("x", [1, 3, 10, 10])], [_float("z", None)], weights)
    )
    assert graph.tensors["z"].shape == (1, 3, 5, 20)
    assert [node.op for node in graph.nodes] == ["Reshape", "Relu"]


def test_bad_files(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        graph_from_onnx(tmp_path / "absent.onnx")
    text = tmp_path / "text.onnx"
    text.write_text("this is no model")
    with pytest.raises(UserError, match=r"text\.onnx"):
        graph_from_onnx(text)
    empty = tmp_path / "empty.onnx"
    onnx.save(onnx.ModelProto(), empty)
    with pytest.raises(UserError, match="holds no ONNX graph"):
        graph_from_onnx(empty)


def test_an_unknown_operator_keeps_the_shape_of_what_it_reads():
    node = helper.make_node("Mystery", ["x"], ["y"], domain="elsewhere")
    graph = graph_from_onnx(_model([node], [_float("x", [1, 3, 4, 4])], [_float("y", None)]))
    assert graph.tensors["y"].shape == (1, 3, 4, 4)
    assert "shape unknown" in graph.warnings[0]


def test_functions_of_the_file_are_the_nodes_that_they_stand_for():
    body = [
        helper.make_node("Conv", ["a", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
    ]
    opset = helper.make_opsetid("", 17)
    model = _conv()
    model.functions.append(helper.make_function("own", "Both", ["a", "b"], ["d"], body, [opset]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[0].CopyFrom(helper.make_node("Both", ["images", "w"], ["y"], domain="own"))
    graph = graph_from_onnx(model)
    assert [node.op for node in graph.nodes] == ["Conv", "Relu"]
    assert graph.tensors["y"].shape == (1, 4, 8, 8)


@pytest.mark.parametrize(
    ("op", "given", "says"),
    [("Reshape", ["sizes"], "to one image"), ("Squeeze", ["axes"], None), ("Flatten", [], None)],
)
def test_a_batch_that_a_reshape_does_not_take_is_refused(op, given, says):
    """[1, 12] and the like are baked in; a squeezed or flattened shape follows the batch."""
    node = helper.make_node(op, ["images", *given], ["y"], name="to one image")
    constants = [
        helper.make_tensor("sizes", TensorProto.INT64, [2], [1, 12]),
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
    ]
    shape = ["batch", 1, 3, 4]
    model = _model([node], [_float("images", shape)], [_float("y", None)], constants)
    assert graph_from_onnx(model).batch == 1
    if says is None:
        assert graph_from_onnx(model, batch=8).tensors["y"].elements == 8 * 12
        return
    with pytest.raises(UserError, match=rf"'{says}': cannot make \[1, 12\] of \[8, 1, 3, 4\]"):
        graph_from_onnx(model, batch=8)


def _rows(node):
    """A Reshape to rows of 256, which the file notes for a batch of 1, and ``node`` behind it."""
    nodes = [helper.make_node("Reshape", ["x", "sizes"], ["r"]), node]
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [3], [-1, 8, 256])
    model = _model(nodes, [_float("x", ["batch", 256, 8])], [_float("y", [1, 8, 256])], [sizes])
    model.graph.value_info.append(_float("r", [1, 8, 256]))
    return model


def test_noted_shapes_give_way_to_a_batch():
    """That of a weight stays."""
    model = _rows(helper.make_node("MatMul", ["r", "w"], ["y"]))
    model.graph.initializer.append(_weight("w", [256, 256]))
    model.graph.value_info.append(_float("w", [256, 256]))
    for batch in (None, 1, 4):
        tensors = graph_from_onnx(model, batch=batch).tensors
        assert tensors["r"].shape == tensors["y"].shape == (batch or 1, 8, 256)


def test_a_noted_shape_counts_where_nothing_else_tells_it():
    model = _rows(helper.make_node("Mystery", ["r"], ["m"], domain="elsewhere"))
    model.graph.node.append(helper.make_node("Relu", ["m"], ["z"]))
    model.graph.value_info.append(_float("m", [500, 4]))
    model.graph.output[0].name = "z"
    model.graph.output[0].type.tensor_type.ClearField("shape")
    graph = graph_from_onnx(model, batch=4)
    assert [graph.tensors[name].shape for name in "rmz"] == [(4, 8, 256), (500, 4), (500, 4)]
    assert graph.warnings == ()
    model.graph.node.pop()
    model.graph.output[0].CopyFrom(_float("m", [500, 4]))
    assert graph_from_onnx(model, batch=4).tensors["m"].shape == (500, 4)


def test_a_constant_is_of_the_type_that_the_file_notes():
    """A conversion to half leaves the Cast of a scale at float32, and notes what it means."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Cast", ["s"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "f"], ["m"]),
        helper.make_node("Concat", ["m", "m"], ["y"], axis=0),
    ]
    given, scale, result = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape)
        for name, shape in (("x", [2, 2]), ("f", [2]), ("y", None))
    )
    graph = helper.make_graph(nodes, "g", [given], [result], value_info=[scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    read = graph_from_onnx(model)
    assert (read.tensors["y"].shape, read.warnings) == ((4, 2), ())


def test_a_failed_inference_is_told(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no opset\nfor it")

    monkeypatch.setattr(shape_folding.shape_inference, "infer_shapes", fail)
    first, *_ = graph_from_onnx(_conv()).warnings
    assert first == "shapes are those that the file notes, onnx infers none: no opset for it"
