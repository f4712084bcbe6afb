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

    def owners(self, layers: Mapping[str, Weight]) -> list[str | None]:
        """Layers whose weights follow one another here, and None for each row of none of them.

        Mostly one layer; several where the export made one convolution of siblings.
        """
        rest = _rows(self.weight, self.transposed)
        found: list[str | None] = []
        while len(rest):
            owner = next((n for n, layer in layers.items() if self._starts(rest, layer)), None)
            rest = rest[1 if owner is None else len(_rows(layers[owner], self.transposed)) :]
            found.append(owner)
        return found

    def _starts(self, rows: Weight, layer: Weight) -> bool:
        """Whether rows start as a layer does, but for one factor for each output channel."""
        other = _rows(layer, self.transposed)
        if layer.shape[2:] != self.weight.shape[2:] or other.shape[1] != rows.shape[1]:
            return False
        if len(other) > len(rows):
            return False
        own = rows[: len(other)]
        column = np.abs(other).argmax(1)[:, None]
        scale = np.take_along_axis(own, column, 1) / np.take_along_axis(other, column, 1)
        size = np.abs(own).max(1)
        alive = np.isfinite(scale[:, 0]) & (size > 0)  # a batch norm may have silenced a channel
        error = np.abs(own - other * np.where(alive[:, None], scale, 0)).max(1)
        return bool(alive.any() and (error <= _TOLERANCE * size)[alive].all())


def trained_ranges(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Arguments of ``int8_from_onnx`` that give the file the arithmetic of the training.

    A node belongs to the layer whose weights it has, up to one factor for each output channel:
    that is what folding batch norm leaves of them, whatever became of the node's name. Siblings
    that became one node are in INT8 if all of them were trained for it.

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
    in_float = set()
    for node in nodes:
        owners = node.owners(layers)
        if None in owners:
            in_float.add(node.name)
        for owner in filter(None, owners):
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
        for place, limit in zip(places, limits, strict=True):
            ranges[place] = max(limit, ranges.get(place, 0.0))  # siblings read the same
    ranges = {name: limit for name, limit in ranges.items() if name not in in_float}
    return {"ranges": ranges, "keep_float": tuple(n.name for n in nodes if n.name in in_float)}


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
