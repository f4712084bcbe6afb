"""A kernel of a fused graph: the nodes that it runs, what it reads and what it writes."""

from dataclasses import dataclass, field

from kd3d.profiling.prediction.onnx_graph import GraphNode


@dataclass
class FusedLayer:
    """Nodes that run as one kernel.

    Attributes:
        kind: "product" (convolution or matrix product), "pointwise", "pool", "resize", "sample",
            "concat", "slice", "transpose" (beside a matrix product), "copy", "sort" or "unknown".
        nodes: in the graph's order; the first names the layer.
        inputs: tensors read from memory, weights left out, views and Q/DQ followed to their source.
        outputs: tensors written.
        epilogue: a pointwise layer right behind a convolution that can take it into its kernel.
        parallel: convolutions that run side by side with the first node, in the same kernel.
        scores: what a softmax between two products of activations reads from the first of them;
            one kernel can do all three. Empty for other layers.
    """

    kind: str
    nodes: list[GraphNode]
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    epilogue: bool = False
    scores: list[str] = field(default_factory=list)
    parallel: list[GraphNode] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the first node, and how many follow."""
        rest = f" + {len(self.nodes) - 1}" if len(self.nodes) > 1 else ""
        return self.nodes[0].name + rest

    @property
    def attention(self) -> bool:
        """Whether it is the softmax of fused attention."""
        return bool(self.scores)

    @property
    def operators(self) -> tuple[str, ...]:
        """Operators of the nodes."""
        return tuple(node.op for node in self.nodes)
