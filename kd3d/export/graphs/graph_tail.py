"""The tail of a float32 ONNX file as a file of its own: from the last layers' answers to boxes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd3d.backends.base import Array, Feeds
from kd3d.backends.subgraph import producers, subgraph
from kd3d.export.graphs.graph_parts import read_graph, save_model


@dataclass(frozen=True)
class Tail:
    """What decodes.

    Attributes:
        model: the ModelProto of the tail.
        cut: tensors that it reads from the layers before it.
        outputs: of the whole file, that the tail makes.
    """

    model: Any  # onnx is untyped
    cut: list[str]
    outputs: list[str]

    def in_graph(self, graph: Any) -> bool:
        """Whether another precision's graph has all tensors that are compared; none are: no."""
        return bool(self.outputs) and {*self.cut, *self.outputs} <= set(producers(graph))

    def feeds(self, feeds: Feeds, answers: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs of the tail: another file's answers in the tail's types, and inputs as they are.

        Args:
            feeds: of the whole file.
            answers: of the other file, by name; those of ``cut``.
        """
        from onnx.helper import tensor_dtype_to_np_dtype

        found = {}
        for value in self.model.graph.input:
            array = answers[value.name] if value.name in self.cut else feeds[value.name]
            found[value.name] = array.astype(
                tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type), copy=False
            )
        return found

    def write(self, folder: Path) -> Path:
        """The tail as a file in a folder."""
        return save_model(self.model, folder / "tail.onnx")


def read_tail(source: Path) -> Tail:
    """Of a float32 file.

    Raises:
        UserError: if it is none.
    """
    graph = read_graph(source)
    made = {tensor for name in graph.tail for tensor in graph.nodes[name].output}
    read = (tensor for name in graph.tail for tensor in graph.nodes[name].input)
    cut = [t for t in dict.fromkeys(read) if t in graph.producer and t not in made]
    outputs = [output.name for output in graph.model.graph.output if output.name in made]
    return Tail(subgraph(graph.model, outputs, given=cut), cut, outputs)
