import numpy as np
import pytest
from fused_graphs import fused_graph
from onnx import helper

from kd3d.profiling.layer_work import layer_work


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
