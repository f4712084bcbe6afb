"""A typed float16 ONNX file whose fragile parts stay in float32, chosen by measurement.

TensorRT 11 takes every tensor's type from the file, and ONNX Runtime on a CPU computes float16
nodes in float32, where an overflow cannot be seen. So each candidate is rounded to float16 and back
in a float32 run (products are summed in float32 there, as tensor cores do) and its damage measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kd3d.backends.base import Array, Feeds
from kd3d.backends.head_noise import ENTRY, AcceptedNoise, accepted_noise
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.export.graphs.graph_parts import Graph, largest, read_graph, save_model
from kd3d.export.graphs.half_typing import half_precision_model
from kd3d.export.graphs.operators import float32_operators
from kd3d.export.int8.calibration import check_calibration, largest_values
from kd3d.export.int8.switched_model import Rounding, SwitchedModel, relative_noise

MOST_FEEDS = 2
_SHOWN = 4  # names a line of the text; export.json has them all
# Largest value that a kept-in-half tensor may show in the measured inputs: float16 ends at 65504,
# and other inputs may have values twice as large.
HIGHEST = 65504.0 / 2
TRUNK_NOISE = 0.01  # relative noise that the trunk may have at the heads
_LEAST_ACCEPTED = 0.02  # of what varies there, for the gate
TAIL_ERROR = 1e-4  # of an output's largest value: 0.04 px in 416 px
# These choose among their input's values: they add nothing to what that has been rounded to.
_CHOOSING_TYPES = """
Concat Expand Flatten Gather GatherElements Identity MaxPool ReduceMax Relu Reshape Shape Slice
Split Squeeze Tile Transpose Unsqueeze
"""
_CHOOSING = frozenset(_CHOOSING_TYPES.split())


@dataclass(frozen=True)
class Fp16Report:
    """What stayed in float32 and why.

    Attributes:
        kept_fp32: names of nodes, in the order of the graph.
        reasons: why, for each of them.
        nodes: float nodes of the model.
        noise: at each head, the relative noise of the trunk in float16.
        accepted: at each channel of each head, the noise of the file, for the gate.
    """

    kept_fp32: tuple[str, ...]
    reasons: dict[str, str]
    nodes: int
    noise: dict[str, float] = field(default_factory=dict)
    accepted: dict[str, AcceptedNoise] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:  # Any: what json writes
        """For export.json."""
        accepted = {head: noise.as_json() for head, noise in self.accepted.items()}
        return {
            "kept_fp32": list(self.kept_fp32),
            "relative_noise": self.noise,
            ENTRY: accepted,
        }

    def text(self) -> str:
        """For the terminal: how many stayed for which reason, with their names."""
        lines = [f"float16: {len(self.kept_fp32)} of {self.nodes} nodes stay in float32"]
        for reason in dict.fromkeys(self.reasons.values()):
            names = [name for name in self.kept_fp32 if self.reasons[name] == reason]
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            lines.append(f"  {len(names)} {reason}: {', '.join(names[:_SHOWN])}{more}")
        if self.noise:
            worst = max(self.noise, key=lambda name: self.noise[name])
            lines.append(
                f"  relative noise at the last layers: at most {self.noise[worst]:.1e} ({worst})"
            )
        return "\n".join(lines)


def fp16_from_onnx(source: str | Path, target: str | Path, feeds: Sequence[Feeds]) -> Fp16Report:
    """Writes ``source`` with float16 weights and tensors, whole or not at all.

    Inputs and outputs keep their names, shapes and float32. What stays in float32:

    - nodes that read or make values beyond ``HIGHEST``;
    - normalisations whose weights a TensorRT would misread (``float32_operators``);
    - from the inputs on, what prepares the first layer, up to where rounding adds less noise at
      the last layers than the trunk itself does;
    - layers of the trunk, the worst first, until its noise is at most ``TRUNK_NOISE``;
    - proposal selection, and the decoding of each output that changes by more than
      ``TAIL_ERROR`` of its largest value when its decoding is rounded.

    Args:
        source: a float32 file.
        target: of the file to write.
        feeds: realistic inputs; the first ``MOST_FEEDS`` are used.

    Raises:
        UserError: if the source or the feeds cannot be used.
    """
    graph = read_graph(source)
    check_calibration(source, feeds)
    search = _Search(graph, source, [feeds[index] for index in range(min(len(feeds), MOST_FEEDS))])
    report = search.report()
    save_model(half_precision_model(graph, report.kept_fp32), target)
    _check_runs(target, feeds[0])
    return report


def _check_runs(target: str | Path, feeds: Feeds) -> None:
    try:
        with OnnxRuntimeBackend(target, threads=1) as backend:
            backend.infer(feeds)
    except Exception:
        Path(target).unlink(missing_ok=True)
        raise


class _Search:
    """Decides node by node; ``reasons`` names what stays in float32 so far."""

    def __init__(self, graph: Graph, source: str | Path, feeds: list[Feeds]) -> None:
        self._graph, self._feeds = graph, feeds
        self._candidates = [
            name for name, node in graph.nodes.items() if graph.touches_floats(node)
        ]
        self.reasons: dict[str, str] = {}
        self._most = largest_values(source, feeds)
        outputs = [o.name for o in graph.model.graph.output if o.name in graph.floats]
        self._outputs = outputs
        self._model = SwitchedModel(graph, _rounding(), outputs=[*graph.heads, *outputs])
        self._plain = [self._model.run(feed) for feed in feeds]

    def report(self) -> Fp16Report:
        self._keep_large()
        misread = float32_operators()
        for name in self._candidates:
            if self._graph.nodes[name].op_type in misread:
                self.reasons.setdefault(name, "has a scale that TensorRT 8 reads as float32")
            elif name in self._graph.selection:
                self.reasons.setdefault(name, "chooses proposals")
        trunk = self._trunk()
        self._choose_front(trunk)
        self._choose_tail(trunk)
        kept = tuple(name for name in self._candidates if name in self.reasons)
        half = [n for n in self._candidates if n not in self.reasons]
        return Fp16Report(
            kept,
            dict(self.reasons),
            len(self._candidates),
            self._noise(half),
            self._accepted(half),
        )

    def _keep_large(self) -> None:
        for name in self._candidates:
            node = self._graph.nodes[name]
            tensors = [t for t in (*node.input, *node.output) if t in self._graph.floats]
            values = [self._value(tensor) for tensor in tensors]
            if not all(np.isfinite(value) and value <= HIGHEST for value in values):
                self.reasons[name] = f"values beyond {HIGHEST:.0f}"

    def _value(self, tensor: str) -> float:
        if tensor in self._graph.constants:
            return largest(self._graph.constants[tensor])
        return self._most.get(tensor, 0.0)

    def _trunk(self) -> list[str]:
        """Nodes of the trunk that may be float16, after the worst have been taken out."""
        half = [
            name
            for name in self._candidates
            if name in set(self._graph.trunk) and name not in self.reasons
        ]
        while half and self._worst(half) > TRUNK_NOISE:
            worst = self._worst_node(half)
            self.reasons[worst] = f"noise at the last layers above {TRUNK_NOISE:g}"
            half.remove(worst)
        return half

    def _worst_node(self, names: list[str]) -> str:
        """Bisection: of two halves, go on with the one that does more damage alone."""
        while len(names) > 1:
            parts = names[: len(names) // 2], names[len(names) // 2 :]
            names = max(parts, key=self._worst)
        return names[0]

    def _choose_front(self, trunk: list[str]) -> None:
        """Backwards from the first layer: what is float32 stays so up to the inputs."""
        limit = self._worst(trunk)
        front = set(self._graph.front)
        for name in reversed(self._candidates):
            if name not in front or name in self.reasons:
                continue
            readers = [
                user.name
                for tensor in self._graph.nodes[name].output
                for user in self._graph.users.get(tensor, [])
            ]
            if any(reader in self.reasons for reader in readers if reader in front):
                self.reasons[name] = "prepares the input of one that stays"
            elif self._worst([name]) > limit:
                self.reasons[name] = "prepares the input, with more noise than all layers"

    def _choose_tail(self, trunk: list[str]) -> None:
        """What makes an output is tried as a whole: a Cast costs more than float32 saves there."""
        reference = [self._model.run(feed, trunk) for feed in self._feeds]
        decided = self._graph.choosing_tail(_CHOOSING).union(self.reasons)
        for output in self._outputs:
            group = [name for name in self._graph.tail_of(output) if name not in decided]
            if self._changes(reference, [*trunk, *group]):
                for name in self._candidates:
                    if name in group:
                        self.reasons.setdefault(name, f"decodes '{output}'")

    def _changes(self, reference: list[dict[str, Array]], on: list[str]) -> bool:
        for feed, expected in zip(self._feeds, reference, strict=True):
            received = self._model.run(feed, on)
            for name in self._outputs:
                difference = np.abs(received[name] - expected[name])
                if not (difference <= TAIL_ERROR * largest(expected[name])).all():
                    return True
        return False

    def _accepted(self, on: list[str]) -> dict[str, AcceptedNoise]:
        heads = self._graph.heads
        runs = []
        for feed, plain in zip(self._feeds, self._plain, strict=True):
            received = self._model.run(feed, on)
            runs.append(({head: plain[head] for head in heads}, received))
        rows_free = set(heads).difference(self._graph.first_heads())
        return accepted_noise(runs, least=_LEAST_ACCEPTED, rows_free=rows_free)

    def _worst(self, on: list[str]) -> float:
        return max(self._noise(on).values(), default=0.0)

    def _noise(self, on: list[str]) -> dict[str, float]:
        """Relative noise at the heads that no selection orders anew, with these nodes rounded."""
        received = [self._model.run(feed, on) for feed in self._feeds]
        return {
            head: relative_noise([p[head] for p in self._plain], [r[head] for r in received])
            for head in self._graph.first_heads()
        }


def _rounding() -> Rounding:
    """To float16 and back: what a node reads (its maker may stay in float32) and computes."""
    from onnx import TensorProto, helper

    def rounding(node: Any, tensor: str, reads: bool) -> tuple[str, list[Any]] | None:
        if not reads and node.op_type in _CHOOSING:
            return None
        return node.name, [
            helper.make_node("Cast", [tensor], ["half"], name="half", to=TensorProto.FLOAT16),
            helper.make_node("Cast", ["half"], ["rounded"], name="rounded", to=TensorProto.FLOAT),
        ]

    return rounding
