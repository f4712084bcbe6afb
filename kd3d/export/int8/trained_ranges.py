"""What quantisation-aware training left in a checkpoint, in the words of the exported graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kd3d.distill.quantization_aware import QUANTIZATION
from kd3d.errors import UserError
from kd3d.export.graphs.graph_parts import WEIGHTED, read_graph
from kd3d.export.int8.quantization_units import quantizable, weight_axis

_TOLERANCE = 1e-4  # of a weight, relative to the largest of its output channel

Weight = NDArray[np.float32]


@dataclass(frozen=True)
class _Node:
    """A node with weights: (outputs, ...), of a transposed convolution (inputs, outputs, ...)."""

    name: str
    transposed: bool
    weight: Weight

    def has(self, layer: Weight) -> bool:
        """Whether these are the layer's weights, but for one factor for each output channel."""
        if layer.shape != self.weight.shape:
            return False
        own, other = (_rows(weight, self.transposed) for weight in (self.weight, layer))
        column = np.abs(other).argmax(1)[:, None]
        scale = np.take_along_axis(own, column, 1) / np.take_along_axis(other, column, 1)
        size = np.abs(own).max(1)
        alive = np.isfinite(scale[:, 0]) & (size > 0)  # a batch norm may have silenced a channel
        error = np.abs(own - other * np.where(alive[:, None], scale, 0)).max(1)
        return bool(alive.any() and (error <= _TOLERANCE * size)[alive].all())


def trained_ranges(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Arguments of ``int8_from_onnx`` that give the file the arithmetic of the training.

    A node belongs to the layer whose weights it has, up to one factor for each output channel:
    that is what folding batch norm leaves of them, whatever became of the node's name.

    Args:
        checkpoint: that was exported.
        path: of the fp32 ONNX file made from it.

    Returns:
        ``ranges``: node name -> size of its input that 127 stands for; ``keep_float``: names of
        the nodes with weights that were trained in float. Empty where the training knew nothing
        of quantisation.

    Raises:
        UserError: a layer that was trained for INT8 is not in the graph.
    """
    state = checkpoint.get(QUANTIZATION)
    if state is None:
        return {}
    nodes = _nodes(path)
    layers = {name: _array(checkpoint["state_dict"][f"{name}.weight"]) for name in state["limits"]}
    found: dict[str, list[str]] = {name: [] for name in layers}
    for node in nodes:
        owner = next((name for name, weight in layers.items() if node.has(weight)), None)
        if owner is not None:
            found[owner].append(node.name)
    absent = [name for name, places in found.items() if not places]
    if absent:
        raise UserError(
            f"{path}: no node has the weights of {', '.join(absent[:3])}, which "
            f"{'was' if len(absent) == 1 else 'were'} trained for INT8; export the checkpoint "
            "that this training wrote, or name what is not exported in keep_float and train again"
        )
    ranges: dict[str, float] = {}
    for name, places in found.items():
        limits = [float(limit) or 1.0 for limit in state["limits"][name]]  # 0: was always 0
        if len(limits) != len(places):  # run more often in training: wide enough for all
            limits = [max(limits)] * len(places)
        ranges.update(zip(places, limits, strict=True))
    return {"ranges": ranges, "keep_float": tuple(n.name for n in nodes if n.name not in ranges)}


def _nodes(path: Path) -> list[_Node]:
    """Nodes with weights that can be quantised, in the order in which they run."""
    graph = read_graph(path)
    possible = set(quantizable(graph))
    nodes = []
    for node in graph.nodes.values():
        if node.name not in possible or node.op_type not in WEIGHTED:
            continue
        weight = graph.constants[node.input[1]]
        if node.op_type in ("Gemm", "MatMul") and weight_axis(node, weight.ndim):
            weight = weight.T
        nodes.append(_Node(node.name, node.op_type == "ConvTranspose", weight))
    return nodes


def _rows(weight: Weight, transposed: bool) -> Weight:
    """(outputs, weights of each)."""
    rows = weight.swapaxes(0, 1) if transposed else weight
    return rows.reshape(len(rows), -1)


def _array(weight: Tensor) -> Weight:
    array: Weight = weight.detach().float().cpu().numpy()
    return array
