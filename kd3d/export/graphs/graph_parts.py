"""How an ONNX graph hangs together: who makes a tensor, who reads it, where the weights are.

A detector has three parts. The *trunk* runs from the first weighted layer to the last ones; the
*front* prepares its input (pillar decoration); the *tail* decodes what the last weighted layers
answer. Precision is chosen differently in each. Where a trunk picks proposals by score on the way
(two-stage detectors), the decoding and picking inside it is its *selection*.
"""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import UserError
from kd3d.files import write_bytes

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
FIRST_OPSET = 13
_PICKING = frozenset({"TopK", "NonMaxSuppression", "ArgMax"})
_NOT_FLOAT32 = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


class Graph:
    """Look-ups in the graph of a float32 model.

    Attributes:
        model: the ModelProto; change it only through a copy.
        nodes: by name, in topological order.
        constants: initializers by name, as arrays.
        producer: name of a tensor -> the node that makes it.
        users: name of a tensor -> the nodes that read it.
        floats: names of all float32 tensors, initializers included.
        front, trunk, tail: names of nodes, in topological order; every node is in one of them.
        selection: names of nodes of the trunk that decode and pick proposals; mostly empty.
        heads: float tensors that tail or selection read from the trunk: what layers answer there.
    """

    def __init__(self, model: Any) -> None:  # Any: onnx is untyped
        from onnx import numpy_helper

        self.model = model
        self.nodes = {node.name: node for node in model.graph.node}
        assert len(self.nodes) == len(model.graph.node), "names of nodes are unique"
        self.constants: dict[str, NDArray[Any]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self.producer = {name: node for node in model.graph.node for name in node.output}
        self.users: dict[str, list[Any]] = {}
        for node in model.graph.node:
            for name in dict.fromkeys(node.input):
                self.users.setdefault(name, []).append(node)
        self.floats = _float_tensors(model)
        weighted = {name for name, node in self.nodes.items() if node.op_type in WEIGHTED}
        before = self._reach(weighted, self._makers)
        after = self._reach(weighted, self._readers)
        self.trunk = [n for n in self.nodes if n in weighted or n in before & after]
        self.front = [n for n in self.nodes if n in before - after - weighted]
        self.tail = [n for n in self.nodes if n not in before | weighted]
        self.selection = self._selection(weighted)
        outside = self.selection.union(self.tail)
        outputs = {output.name for output in model.graph.output}
        self.heads = [
            tensor
            for name in self.trunk
            if name not in self.selection
            for tensor in self.nodes[name].output
            if tensor in self.floats
            and (tensor in outputs or any(u.name in outside for u in self.users.get(tensor, [])))
        ]

    def first_heads(self) -> list[str]:
        """Those of ``heads`` whose rows no selection has ordered."""
        ordered = self.after_selection()
        return [head for head in self.heads if self.producer[head].name not in ordered]

    def plain_outputs(self) -> list[str]:
        """Float outputs whose rows have a fixed order: nothing before them picks the best."""
        picking = [name for name, node in self.nodes.items() if node.op_type in _PICKING]
        behind = self._reach(picking, self._readers).union(picking)
        outputs = [output.name for output in self.model.graph.output]
        return [
            name
            for name in outputs
            if name in self.floats
            and name in self.producer
            and self.producer[name].name not in behind
        ]

    def after_selection(self) -> set[str]:
        """Names of the nodes that compute on rows which a selection has ordered."""
        return self._reach(self.selection, self._readers) - self.selection

    def tail_of(self, output: str) -> set[str]:
        """Names of the tail's nodes that an output of the graph is made by."""
        if output not in self.producer:
            return set()
        last = self.producer[output].name
        return (self._reach([last], self._makers) | {last}).intersection(self.tail)

    def choosing_tail(self, op_types: Collection[str]) -> set[str]:
        """Names of the tail's nodes that lie behind the trunk with none but ``op_types`` between.

        Nodes without float tensors (shapes) count as if they were of these types.
        """
        tail = set(self.tail)
        found: set[str] = set()
        for name in self.tail:
            node = self.nodes[name]
            made_by = [maker for maker in self._makers(node) if maker in tail]
            plain = node.op_type in op_types or not self.touches_floats(node)
            if plain and found.issuperset(made_by):
                found.add(name)
        return found

    def float_inputs(self, node: Any) -> list[int]:
        """Places of the inputs that are float32 tensors, constants included."""
        return [place for place, name in enumerate(node.input) if name in self.floats]

    def touches_floats(self, node: Any) -> bool:
        """Whether a node reads or makes a float32 tensor."""
        return bool(self.float_inputs(node)) or any(name in self.floats for name in node.output)

    def _selection(self, weighted: set[str]) -> set[str]:
        """Nodes of the trunk from a weighted layer to a picking and on to the next one."""
        picking = {n for n in self.trunk if self.nodes[n].op_type in _PICKING}
        behind = self._reach(picking, self._readers, stop=weighted) - weighted
        found = picking | behind  # and what these read, back to weighted layers
        found |= self._reach(found, self._makers, stop=weighted) - weighted
        return found.intersection(self.trunk)

    def _makers(self, node: Any) -> list[str]:
        return [self.producer[name].name for name in node.input if name in self.producer]

    def _readers(self, node: Any) -> list[str]:
        return [user.name for name in node.output for user in self.users.get(name, [])]

    def _reach(
        self,
        start: Iterable[str],
        following: Callable[[Any], list[str]],
        stop: Collection[str] = (),
    ) -> set[str]:
        """Names reached from ``start`` by at least one step; none is passed that is in ``stop``."""
        found: set[str] = set()
        waiting = list(start)
        while waiting:
            for name in following(self.nodes[waiting.pop()]):
                if name not in found:
                    found.add(name)
                    if name not in stop:
                        waiting.append(name)
        return found


def load_onnx(source: str | Path) -> Any:  # Any: onnx.ModelProto
    """Reads an ONNX file.

    Raises:
        UserError: if there is none or it is damaged.
    """
    import onnx

    if not Path(source).is_file():
        raise UserError(f"no ONNX file at {source}")
    try:
        model = onnx.load(source)
    except Exception as error:  # protobuf and onnx raise types of their own
        raise UserError(f"{source}: not an ONNX file: {error}") from error
    if not model.opset_import:  # an empty file parses
        raise UserError(f"{source}: not an ONNX file: it holds no model")
    return model


def read_graph(source: str | Path) -> Graph:
    """Reads a float32 ONNX file.

    Constant nodes become initializers and nodes without a name get one.

    Raises:
        UserError: if the file is missing, is no ONNX file, has another precision already, has
            subgraphs, or an opset below 13.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(load_onnx(source))
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < FIRST_OPSET:
        raise UserError(f"{source}: opset {opset}, expected at least {FIRST_OPSET}; export it anew")
    _refuse_other_precision(model, source)
    _lift_constants(model)
    _name_nodes(model)
    return Graph(model)


def _refuse_other_precision(model: Any, source: str | Path) -> None:
    from onnx import TensorProto

    for node in model.graph.node:
        if node.op_type in _NOT_FLOAT32:
            raise UserError(
                f"{source}: '{node.name}' is a {node.op_type}, so the file is quantised already; "
                "start from the float32 file"
            )
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise UserError(f"{source}: '{node.name}' ({node.op_type}) holds a subgraph")
    if any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer):
        raise UserError(f"{source}: holds float16 weights; start from the float32 file")


def _lift_constants(model: Any) -> None:
    for node in [node for node in model.graph.node if node.op_type == "Constant"]:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if value is not None:
            model.graph.initializer.add().CopyFrom(value)
            model.graph.initializer[-1].name = node.output[0]
            model.graph.node.remove(node)


def _name_nodes(model: Any) -> None:
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}_{index}"
        taken.add(node.name)


def constant_tensors(graph: Any) -> dict[str, Any]:  # Any: onnx.GraphProto, TensorProto
    """Initializers, and what Constant nodes hold, by name."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return found


def _float_tensors(model: Any) -> set[str]:
    from onnx import TensorProto

    graph = model.graph
    found = {
        value.name
        for value in [*graph.input, *graph.output, *graph.value_info]
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    return found | {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}


def save_model(model: Any, target: str | Path) -> Path:
    """Checks a model and writes it, whole or not at all."""
    import onnx

    onnx.checker.check_model(model, full_check=True)  # full: shapes are inferred strictly
    return write_bytes(target, model.SerializeToString())


def rename(names: Any, before: str, after: str) -> None:  # Any: a node's inputs or outputs
    """Another name for a tensor, in place."""
    for index, name in enumerate(names):
        if name == before:
            names[index] = after


def largest(array: NDArray[Any]) -> float:
    """Largest absolute value; 0 for an empty array."""
    return float(np.abs(array).max()) if array.size else 0.0
