import numpy as np
import pytest
from fused_graphs import fused_graph
from onnx import helper

from kd3d.profiling.prediction.layer_work import layer_work


@pytest.mark.parametrize(
    ("equation", "left", "right", "expected"),
    [
        ("bhid,bhjd->bhij", [2, 3, 5, 7], [2, 3, 11, 7], (5, 11, 7, 6)),
        ("bhij, bhjd -> bihd", [2, 3, 5, 11], [2, 3, 11, 7], (5, 7, 11, 6)),
        ("ij,jk", [5, 7], [7, 11], (5, 11, 7, 1)),
        ("...c,cd->...d", [2, 5, 7], [7, 11], (10, 11, 7, 1)),
        ("...ic,...jc->...ij", [2, 3, 5, 7], [2, 3, 11, 7], (5, 11, 7, 6)),
        ("bhwc,wkc->bhwk", [2, 3, 5, 7], [5, 11, 7], (6, 11, 7, 5)),
    ],
)
def test_an_einsum_is_the_matrix_product_of_its_equation(equation, left, right, expected):
    """Whichever of the two is the weight."""
    for names in (["x", "w"], ["w", "x"]):
        node = helper.make_node("Einsum", names, ["y"], equation=equation)
        shapes = dict(zip(names, (left, right), strict=True))
        fused = fused_graph([node], {"x": shapes["x"]}, ["y"], {"w": tuple(shapes["w"])})
        (work,) = (layer for layer in layer_work(fused, "fp32") if layer.kind == "product")
        assert (work.m, work.n, work.k, work.groups) == expected
        assert work.weight_bytes == 4 * np.prod(shapes["w"])


@pytest.mark.parametrize(
    ("equation", "count", "kind"),
    [("bij,bij->bij", 2, "pointwise"), ("bij->bji", 1, "copy"), ("bij,bjk,bkl", 3, "unknown")],
)
def test_other_einsums_are_no_products(equation, count, kind):
    node = helper.make_node("Einsum", list("xyz")[:count], ["out"], equation=equation)
    fused = fused_graph([node], {name: [2, 4, 4] for name in "xyz"[:count]}, ["out"])
    (layer,) = fused.layers
    assert (layer.kind, layer.operators) == (kind, ("Einsum",))


@pytest.mark.parametrize(
    ("names", "left", "right", "expected"),
    [
        (["x", "w"], [400, 1, 8], [8, 16], (400, 16, 8, 1)),
        (["x", "w"], [400, 1, 8], [1, 8, 16], (400, 16, 8, 1)),  # one weight for all rows
        (["x", "w"], [6, 400, 8], [1, 8, 16], (2400, 16, 8, 1)),
        (["x", "w"], [3, 4, 10, 8], [4, 8, 16], (30, 16, 8, 4)),  # one for each of four
        (["x", "z"], [3, 4, 10, 8], [1, 4, 8, 16], (10, 16, 8, 12)),  # of activations
        (["w", "x"], [1, 16, 8], [6, 8, 400], (16, 400, 8, 6)),  # columns lie apart
        (["x", "w"], [8], [8, 16], (1, 16, 8, 1)),
        (["x", "w"], [5, 6, 8], [8], (30, 1, 8, 1)),
    ],
)
def test_rows_that_share_a_weight_are_one_product(names, left, right, expected):
    shapes = dict(zip(names, (left, right), strict=True))
    weights = {"w": tuple(shapes.pop("w"))} if "w" in shapes else {}
    fused = fused_graph([helper.make_node("MatMul", names, ["y"])], shapes, ["y"], weights)
    (work,) = (layer for layer in layer_work(fused, "fp32") if layer.kind == "product")
    assert (work.m, work.n, work.k, work.groups) == expected


@pytest.mark.parametrize(
    ("op", "weight", "kind"),
    [
        ("Conv", (8, 1, 17, 17), "depthwise"),  # of whatever size
        ("Conv", (32, 1, 3, 3), "depthwise"),  # four channels of each
        ("Conv", (8, 4, 3, 3), "product"),
        ("ConvTranspose", (8, 1, 4, 4), "depthwise"),
        ("ConvTranspose", (8, 2, 4, 4), "depthwise"),
        ("ConvTranspose", (16, 1, 4, 4), "product"),  # two channels into one
    ],
)
def test_groups_of_one_channel_are_depthwise(op, weight, kind):
    group = 2 if weight == (8, 4, 3, 3) else 8
    channels = weight[0] if op == "ConvTranspose" else weight[1] * group
    node = helper.make_node(op, ["x", "w"], ["y"], group=group)
    fused = fused_graph([node], {"x": [1, channels, 20, 20]}, ["y"], {"w": weight})
    (work,) = (layer for layer in layer_work(fused, "fp32") if layer.operators == op)
    assert work.kind == kind
