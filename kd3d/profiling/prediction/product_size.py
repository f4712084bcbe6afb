"""The matrix product that a convolution, Gemm, MatMul or Einsum amounts to."""

from collections.abc import Sequence

import numpy as np

from kd3d.profiling.prediction.onnx_graph import GraphNode


def product_size(
    node: GraphNode,
    given: tuple[int, ...],
    weight: tuple[int, ...],
    out: tuple[int, ...],
    *,
    shared: bool = False,
) -> tuple[int, int, int, int]:
    """(m, n, k, groups) of the matrix product that the node is.

    Args:
        node: the operator.
        given: shape of its first input.
        weight: shape of its second.
        out: shape of its output.
        shared: the second input is a weight.
    """
    groups = int(node.attributes.get("group", 1))
    if node.op == "Conv":
        return (
            _product([out[0], *out[2:]]),
            weight[0] // groups,
            _product(weight[1:]),
            groups,
        )
    if node.op == "ConvTranspose":  # each input pixel makes a patch
        return (
            _product([given[0], *given[2:]]),
            _product(weight[1:]),
            weight[0] // groups,
            groups,
        )
    if node.op == "Einsum":
        return _einsum_size(node, given, weight)
    if node.op == "Gemm":
        k = given[0] if node.attributes.get("transA") else given[-1]
        return _product(out[:-1]), out[-1], k, 1
    return _matmul_size(given or (1,), weight or (1,), out, shared)


def _matmul_size(
    left: tuple[int, ...], right: tuple[int, ...], out: tuple[int, ...], shared: bool
) -> tuple[int, int, int, int]:
    """Where a weight on the right serves many products, their rows make one product."""
    rows = left[-2] if len(left) > 1 else 1
    columns = right[-1] if len(right) > 1 else 1
    products = _product(out[: max(len(left), len(right), 2) - 2])
    apart = _product(right[:-2]) if shared or len(right) <= 2 else products
    return rows * max(products // max(apart, 1), 1), columns, left[-1], apart


def is_einsum_product(node: GraphNode) -> bool:
    """Whether an Einsum of two tensors sums over an axis of both: a matrix product."""
    if len(node.inputs) != 2:
        return False
    left, right, out = _einsum_axes(node)
    return bool(set(left) & set(right) - set(out))


def _einsum_size(
    node: GraphNode, given: tuple[int, ...], weight: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Axes of both tensors are summed over (k), or stay and count products (groups)."""
    left, right, out = _einsum_axes(node)
    sizes = [_axis_sizes(left, given), _axis_sizes(right, weight)]

    def product(axes: set[str]) -> int:
        return _product([max(each.get(axis, 1) for each in sizes) for axis in axes])

    first, second, kept = set(left), set(right), set(out)
    return (
        product((first - second) & kept),
        product((second - first) & kept),
        product((first & second) - kept),
        product(first & second & kept),
    )


def _einsum_axes(node: GraphNode) -> tuple[str, str, str]:
    """Letters of the two tensors and of what comes out; "." stands for all the axes of "..."."""
    equation = bytes(node.attributes["equation"]).decode().replace(" ", "").replace("...", ".")
    given, arrow, out = equation.partition("->")
    left, _, right = given.partition(",")
    if not arrow:  # what occurs once, in order; and the axes without letters
        once = sorted(set(left) ^ set(right) - {"."})
        out = "".join([*(["."] if "." in given else []), *once])
    return left, right, out


def _axis_sizes(axes: str, shape: tuple[int, ...]) -> dict[str, int]:
    before, dots, behind = axes.partition(".")
    end = len(shape) - len(behind)
    sizes = {
        **dict(zip(before, shape, strict=False)),
        **dict(zip(behind, shape[end:], strict=True)),
    }
    return {**sizes, ".": _product(shape[len(before) : end])} if dots else sizes


def _product(sizes: Sequence[int]) -> int:
    return int(np.prod(sizes, dtype=np.int64)) if len(sizes) else 1
