import pytest
from onnx import TensorProto, helper

from kd3d.errors import UserError
from kd3d.profiling.prediction.input_sizes import check_sizes, fix_sizes, free_sizes


def _graph(**shapes):
    """A graph that reads these inputs; what it does is of no matter."""
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node("Sum", list(shapes), ["y"])
    return helper.make_graph([node], "toy", inputs, [result])


@pytest.mark.parametrize(
    ("shapes", "batch"),
    [
        ({"images": [2, 3, 8, 8]}, 2),
        ({"cameras": [1, 6, 3, 8, 8], "calibration": [1, 6, 4, 4], "scale": []}, 1),
        ({"cameras": [6, 3, 8, 8], "bev": [1, 64, 9, 9]}, None),  # they do not agree
        ({"pillars": [40000, 32, 9]}, None),
        ({"queries": [900, 1, 256]}, None),
        ({"images": [1, 3, 8, 8], "points": [20000, 5]}, None),
        ({"features": [1, 256]}, 1),
        ({"tokens": [1, 100, 256], "ranges": [6]}, 1),
        ({"tokens": [2, 100, 256]}, None),
        ({"ranges": [1]}, None),
    ],
)
def test_a_fixed_batch_is_one_that_images_and_all_inputs_share(shapes, batch):
    assert fix_sizes(_graph(**shapes), None, {}) == (batch, False)


@pytest.mark.parametrize("name", ["batch", "batch_size", "B", "bs"])
def test_a_free_batch_is_told_by_its_name(name):
    graph = _graph(tokens=[name, 9, 4])
    assert fix_sizes(graph, 3, {}) == (3, True)
    assert free_sizes(graph) == {"tokens": (3, 9, 4)}


@pytest.mark.parametrize("name", ["N", "n", "unk__12", "dynamic", "?", "-1", None])
def test_a_doubtful_name_is_a_batch_of_images_alone(name):
    """N may count pillars: of rows it is asked for, and one without a name by its place."""
    for shape in ([name, 3, 8, 8], [name, 6, 3, 8, 8]):
        assert fix_sizes(_graph(images=shape), None, {}) == (1, True)
    label = name or "pillars.0"
    graph = _graph(pillars=[name, 32, 9])
    with pytest.raises(UserError, match=rf"axis 0 \('{label.replace('?', '.')}'\) .*--size "):
        fix_sizes(graph, None, {})
    assert fix_sizes(graph, None, {label: 700}) == (None, False)
    assert free_sizes(graph) == {"pillars": (700, 32, 9)}


def test_a_free_size_is_asked_for_by_name():
    graph = _graph(images=["batch", 3, "height", 8])
    assert free_sizes(graph) == {"images": ("batch", 3, "height", 8)}
    with pytest.raises(UserError, match=r"axis 2 \('height'\).*--size height=NUMBER"):
        fix_sizes(graph, None, {})
    graph = _graph(images=["batch", 3, "height", 8])
    assert fix_sizes(graph, 2, {"height": 16}) == (2, True)
    assert free_sizes(graph) == {"images": (2, 3, 16, 8)}


def test_one_pillar_that_is_given_is_no_batch_of_one():
    assert fix_sizes(_graph(pillars=["pillars", 32, 9]), None, {"pillars": 1}) == (None, False)


def test_a_size_that_no_axis_has():
    graph = _graph(images=["batch", 3, 8, 8])
    with pytest.raises(UserError, match=r"--size width: no free axis.*free are: batch"):
        fix_sizes(graph, None, {"width": 16})


def test_check_sizes():
    assert check_sizes(["pillars=12000", "h=3"]) == {"pillars": 12000, "h": 3}
    with pytest.raises(UserError, match="NAME=NUMBER"):
        check_sizes(["pillars"])
