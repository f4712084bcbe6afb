import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kd3d.export.graphs.constant_fills import fold_integer_fills


def fill_of(value, sizes, *, known=True):
    """y = value everywhere, of the given sizes."""
    tensor = numpy_helper.from_array(np.array([value]))
    node = helper.make_node("ConstantOfShape", ["sizes"], ["y"], name="fill", value=tensor)
    given = numpy_helper.from_array(np.array(sizes), "sizes")
    graph = helper.make_graph(
        [node],
        "g",
        [] if known else [helper.make_tensor_value_info("sizes", TensorProto.INT64, [2])],
        [helper.make_tensor_value_info("y", tensor.data_type, sizes)],
        [given] if known else [],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_integers_of_known_size_become_a_constant():
    model = fill_of(7, [3, 2])
    assert fold_integer_fills(model) == 1
    (node,) = model.graph.node
    assert node.op_type == "Constant"
    np.testing.assert_array_equal(numpy_helper.to_array(node.attribute[0].t), [[7, 7]] * 3)
    onnx.checker.check_model(model)


@pytest.mark.parametrize(
    "model", [fill_of(7.0, [3, 2]), fill_of(7, [64, 17]), fill_of(7, [3, 2], known=False)]
)
def test_others_are_left(model):
    assert fold_integer_fills(model) == 0
    assert model.graph.node[0].op_type == "ConstantOfShape"
