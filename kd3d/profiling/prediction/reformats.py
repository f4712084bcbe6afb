"""Where tensors are converted to another type: by kernels of their own, or at the end of others."""

from collections.abc import Sequence

from kd3d.profiling.prediction.fused_layer import FusedLayer
from kd3d.profiling.prediction.fusion import FusedGraph
from kd3d.profiling.prediction.kernel_work import (
    LayerWork,
    is_float,
    is_map,
    stated_type,
    tensor_bytes,
)

_SMALL = 64  # elements: scales and the like
_ALONE = frozenset(["Softmax", "LogSoftmax"])  # engines' dumps show reformats behind these


class Conversions:
    """Conversions of a graph's tensors, each made once for all that read the result.

    A product reads its two factors in its own type and a residual as it lies; the inputs and
    outputs of a graph lie row by row in the file's type. A pointwise layer or norm converts at its
    end, and writes both types if both are read; behind any other layer, a Q whose float side is
    read, too, is a kernel of its own, as TensorRT's documentation has it ("Q/DQ Layer-Placement
    Recommendations").

    Attributes:
        fused: the layers.
        storage: tensor to the type that it lies in memory as; changed to that of a conversion for
            a graph's inputs, and where nothing reads another.
        before: kernels in front of each layer.
    """

    def __init__(self, fused: FusedGraph, storage: dict[str, str], maths: Sequence[str]) -> None:
        """Goes through the layers, in the order of running.

        Args:
            fused: the layers.
            storage: changed.
            maths: type in which each layer computes.
        """
        self.fused = fused
        self.storage = storage
        self._made: set[tuple[str, str]] = set()
        self._ends = {
            name
            for layer in fused.layers
            if layer.kind == "pointwise" and not layer.epilogue
            for node in layer.nodes
            for name in node.outputs
            if node.op not in _ALONE
        }
        self.before = [
            self._in_front(layer, math) for layer, math in zip(fused.layers, maths, strict=True)
        ]
        self._leave_unread_types(maths)

    def _in_front(self, layer: FusedLayer, math: str) -> list[LayerWork]:
        found = []
        for name in layer.inputs:
            if (name, math) in self._made or not self._needed(layer, name, math):
                continue
            self._made.add((name, math))
            if name not in self._ends:
                kind = self.storage.get(name, "fp32")
                found.append(self._kernel(name, kind, math, f"{name} (to {math})"))
            if name in self.fused.graph.inputs:
                self.storage[name] = math
        return found

    def _leave_unread_types(self, maths: Sequence[str]) -> None:
        """A layer that converts at its end writes no type that nobody reads."""
        read: dict[str, set[str]] = {}
        for layer, math in zip(self.fused.layers, maths, strict=True):
            for name in layer.inputs:
                read.setdefault(name, set()).add(self.read_as(layer, name, math))
        results = {self.fused.sources.get(name, name) for name in self.fused.graph.outputs}
        for name, kind in list(self._made):
            if name in self._ends - results and read[name] == {kind}:
                self._made.discard((name, kind))
                self.storage[name] = kind

    def behind(self) -> list[LayerWork]:
        """Kernels that bring the outputs into the file's type, row by row."""
        targets = {
            self.fused.sources.get(name, name): stated_type(self.fused.tensor(name))
            for name in self.fused.graph.outputs
        }
        return [
            self._kernel(name, self.storage.get(name, "fp32"), target, f"{name} (output)")
            for name, target in targets.items()
            if is_float(self.fused.tensor(name)) and self._differs(name, target)
        ]

    def read_as(self, layer: FusedLayer, name: str, math: str) -> str:
        """Type in which the layer reads an input."""
        converted = (name, math) in self._made and self._is_factor(layer, name)
        return math if converted else self.storage.get(name, math)

    def copied_bytes(self, layer: FusedLayer) -> float:
        """What the layer writes beside its outputs: they in another type."""
        return sum(
            tensor_bytes(self.fused.tensor(name), kind)
            for name, kind in self._made
            if name in layer.outputs and name in self._ends
        )

    def _needed(self, layer: FusedLayer, name: str, math: str) -> bool:
        tensor = self.fused.tensor(name)
        if not is_float(tensor) or tensor.elements < _SMALL:
            return False
        if name in self.fused.graph.inputs:
            return self._differs(name, math)
        kind = self.storage.get(name, "fp32")
        if layer.kind == "product":
            return kind != math and self._is_factor(layer, name)
        return kind == "int8" != math and not layer.epilogue

    def _is_factor(self, layer: FusedLayer, name: str) -> bool:
        """Of a product, not its residual; whatever another layer reads."""
        factors = (self.fused.sources.get(n, n) for n in layer.nodes[0].inputs[:2])
        return layer.kind != "product" or name in factors

    def _differs(self, name: str, target: str) -> bool:
        """From what a kernel wants: in type, or in half a map whose channels do not lie last."""
        kind = self.storage.get(name, "fp32")
        return kind != target or (kind == "fp16" and is_map(self.fused.tensor(name)))

    def _kernel(self, name: str, kind: str, target: str, label: str) -> LayerWork:
        tensor = self.fused.tensor(name)
        return LayerWork(
            name=label,
            operators="reformat",
            kind="reformat",
            math=target,
            read_bytes=tensor_bytes(tensor, kind, pad=False),
            write_bytes=tensor_bytes(tensor, target),
            elements=tensor.elements,
        )
