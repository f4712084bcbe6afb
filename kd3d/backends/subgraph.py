"""Inner tensors of an ONNX file in any backend: what makes them, as a file of its own."""

import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kd3d.backends.base import Array, Backend, Feeds

Open = Callable[[Path], Backend]
"""Opens an ONNX file: ``OnnxRuntimeBackend``, or one that builds an engine first."""


class InnerTensors:
    """Runs parts of an ONNX file.

    No backend but ONNX Runtime can show what happens inside, so the graph is cut where one wants
    to look, and the cut tensors are its outputs.

    Args:
        path: of the file.
        open_file: makes a backend of a part.

    Attributes:
        graph: the whole file's graph.
    """

    def __init__(self, path: Path, open_file: Open) -> None:
        import onnx

        self._model = onnx.shape_inference.infer_shapes(onnx.load(path))
        self._open = open_file
        self.graph: Any = self._model.graph  # Any: onnx is untyped

    def __call__(self, names: Sequence[str], sets: Sequence[Feeds]) -> list[dict[str, Array]]:
        """The named tensors for each set of inputs of the whole file."""
        import onnx

        with tempfile.TemporaryDirectory(prefix="kd3d-part-") as folder:
            path = Path(folder) / "part.onnx"
            onnx.save(subgraph(self._model, names), path)
            with self._open(path) as backend:
                wanted = {spec.name for spec in backend.inputs}
                return [
                    backend.infer({name: feeds[name] for name in feeds if name in wanted})
                    for feeds in sets
                ]


def subgraph(model: Any, names: Sequence[str], given: Collection[str] = ()) -> Any:
    """A ModelProto of those nodes, inputs and weights that the named tensors need.

    Args:
        model: a ModelProto whose shapes were inferred; it is not changed.
        names: of tensors that nodes make; they are the outputs, in this order.
        given: tensors that are inputs of the part instead of being made in it.
    """
    import onnx

    graph = model.graph
    nodes = needed_nodes(graph, names, given)
    read = {name for node in nodes for name in node.input}
    known = {value.name: value for value in [*graph.value_info, *graph.output]}
    outputs = [known[name] if name in known else onnx.ValueInfoProto(name=name) for name in names]
    part = onnx.helper.make_graph(
        nodes,
        f"{graph.name}-part",
        [*(v for v in graph.input if v.name in read), *(known[n] for n in given if n in read)],
        outputs,
        [tensor for tensor in graph.initializer if tensor.name in read],
    )
    found = onnx.helper.make_model(part, opset_imports=model.opset_import)
    found.ir_version = model.ir_version
    return found


def needed_nodes(graph: Any, names: Iterable[str], given: Collection[str] = ()) -> list[Any]:
    """Nodes that the named tensors depend on but for those given, in the graph's order."""
    producer = {name: at for name, at in producers(graph).items() if name not in given}
    found: set[int] = set()
    waiting = [name for name in names if name in producer]
    while waiting:
        index = producer[waiting.pop()]
        if index not in found:
            found.add(index)
            waiting += [name for name in graph.node[index].input if name in producer]
    return [graph.node[index] for index in sorted(found)]


def producers(graph: Any) -> Mapping[str, int]:
    """Name of a tensor -> index of the node that makes it."""
    return {name: i for i, node in enumerate(graph.node) for name in node.output if name}
