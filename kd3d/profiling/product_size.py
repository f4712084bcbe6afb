"""The matrix product that a convolution, Gemm or MatMul amounts to."""

from collections.abc import Sequence

import numpy as np

from kd3d.profiling.onnx_graph import GraphNode


def product_size(
    node: GraphNode, given: tuple[int, ...], weight: tuple[int, ...], out: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """(m, n, k, groups) of the matrix product that the node is."""
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
    if node.op == "Gemm":
        k = given[0] if node.attributes.get("transA") else given[-1]
        return _product(out[:-1]), out[-1], k, 1
    left, right = given or (1,), weight or (1,)
    k = left[-1]
    n = right[-1] if len(right) > 1 else 1
    if len(right) <= 2:
        return _product(left[:-1]), n, k, 1
    rows = left[-2] if len(left) > 1 else 1
    return rows, n, k, _product(out[:-2])


def _product(sizes: Sequence[int]) -> int:
    return int(np.prod(sizes, dtype=np.int64)) if len(sizes) else 1
