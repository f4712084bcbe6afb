"""The first layer at which a backend departs from another, found by looking inside both graphs.

Both graphs have the same tensors by name; between them a coarser precision has Cast or
QuantizeLinear nodes of its own. A layer is the first that departs if its output does and nothing
that it reads does. It is found by bisection: a few tensors in between are made outputs of a part of
the graph, until the place is known. Tensors that depend on the order of a TopK are compared only if
what it sorts agrees: two programs sort values differently that are equal but for rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from kd3d.backends.base import Array, Feeds
from kd3d.backends.head_noise import channel_noise
from kd3d.backends.subgraph import InnerTensors, needed_nodes, producers

_CUTS = 7  # tensors of one probe: an engine a probe is slow, all tensors at once fill the memory
_AFTER = 4  # layers that are shown after the first one
_EQUAL = 1e-3  # rms below which a TopK sorts the same values on both sides
_SORTING = frozenset({"TopK", "NonZero", "NonMaxSuppression", "ArgMax", "ArgMin"})
_OUTPUT = "_output_0"  # what torch appends to the name of a node
_FLOATS = (1, 10, 11, 16)  # onnx.TensorProto: FLOAT, FLOAT16, DOUBLE, BFLOAT16


@dataclass(frozen=True)
class LayerDifference:
    """How far one inner tensor is from the reference's; the worst over all inputs.

    Attributes:
        tensor: its name.
        node: that makes it; operator: what this computes.
        rms: root mean square of the differences as a share of that of the reference's values; of
            the worst channel where a head was asked for.
        cosine: of the angle between both, as vectors; 1 is the same direction.
        non_finite: values that are inf or nan on either side.
    """

    tensor: str
    node: str
    operator: str
    rms: float
    cosine: float
    non_finite: int

    @property
    def layer(self) -> str:
        """A name with the module's path: a node that an optimiser made has only its tensor's."""
        made_up = not self.node or self.node.startswith("node_")
        return (
            self.tensor[: -len(_OUTPUT)] if made_up and self.tensor.endswith(_OUTPUT) else self.node
        )


@dataclass(frozen=True)
class Departure:
    """Where a backend leaves its reference.

    Attributes:
        first: the layer: its output departs.
        read: the tensors it reads, which do not.
        after: layers that follow in the graph, and outputs of the whole.
        limit: of ``rms``, from which on a tensor departs.
        probes: parts of the graph that were run.
    """

    first: LayerDifference
    read: tuple[LayerDifference, ...]
    after: tuple[LayerDifference, ...]
    limit: float
    probes: int


def first_departure(
    reference: InnerTensors,
    candidate: InnerTensors,
    sets: Sequence[Feeds],
    *,
    limit: float,
    head: str = "",
    rows_free: bool = False,
) -> Departure | None:
    """The first layer whose output departs; None if no output of the graph differs at all.

    Args:
        reference: the graph that is right.
        candidate: the graph in question, with tensors of the same names.
        sets: inputs at which both are asked.
        limit: of the relative root mean square. If no output reaches it, half of the worst output's
            is taken: something was reported, so the largest contribution is looked for.
        head: tensor at whose worst channel something was reported: channels are compared one by
            one then, and half of what differs there is the limit.
        rows_free: looks behind a TopK whatever differs before it: channels are compared one by one,
            and those behind it whatever the order of their rows. Half of the worst output's
            difference is the limit, as a row that ties may be another one.
    """
    if head:
        search = _Search(reference, candidate, sets, sorted_too=True, by_channel=True)
        return _departure(search, head, search.differences([head])[0].rms / 2)
    search = _Search(reference, candidate, sets, sorted_too=rows_free, by_channel=rows_free)
    ends = search.differences(search.ends())
    worst = max((end.rms for end in ends), default=0.0)
    if worst <= min(limit, _EQUAL) and not rows_free:
        search = _Search(reference, candidate, sets, sorted_too=True)
        ends = search.differences(search.ends())
        worst = max((end.rms for end in ends), default=0.0)
    if not worst:
        return None
    if rows_free or worst <= limit:
        limit = worst / 2
    return _departure(search, next(end.tensor for end in ends if end.rms > limit), limit)


def _departure(search: "_Search", target: str, limit: float) -> Departure:
    """The first layer above the limit that a departing tensor depends on."""
    while True:
        target = search.earliest(target, limit)
        read = search.differences(search.parents(target))
        earlier = [found.tensor for found in read if found.rms > limit]
        if not earlier:
            break
        target = earlier[0]
    first = search.differences([target])[0]
    after = search.differences(search.following(target))
    return Departure(first, tuple(read), tuple(after), limit, search.probes)


class _Search:
    """Differences of shared tensors, each measured once."""

    def __init__(
        self,
        reference: InnerTensors,
        candidate: InnerTensors,
        sets: Sequence[Feeds],
        *,
        sorted_too: bool,
        by_channel: bool = False,
    ) -> None:
        self._reference, self._candidate, self._sets = reference, candidate, sets
        self._by_channel = by_channel
        self.probes = 0
        self._known: dict[str, LayerDifference] = {}
        graph = reference.graph
        self._producer = producers(graph)
        self._nodes = graph.node
        behind, before = _floats(graph, set(producers(candidate.graph)))
        names = [*before, *behind] if sorted_too else before
        self._behind = set(behind)
        self._order = {name: place for place, name in enumerate(names)}
        assert names, "the two graphs share no tensor"

    def ends(self) -> list[str]:
        """Tensors that no comparable tensor depends on: outputs, or what a TopK reads."""
        inner = {parent for name in self._order for parent in self.parents(name)}
        return [name for name in self._order if name not in inner]

    def parents(self, name: str) -> list[str]:
        """Comparable tensors that a tensor is made of, with nothing comparable in between."""
        found, waiting = set(), [*self._nodes[self._producer[name]].input]
        while waiting:
            read = waiting.pop()
            if read in self._order:
                found.add(read)
            elif read in self._producer:
                waiting += self._nodes[self._producer[read]].input
        return sorted(found, key=self._order.__getitem__)

    def following(self, name: str) -> list[str]:
        """The next layers that depend on a tensor, and the ends that do."""
        reached = {name}
        for one in self._order:
            if any(parent in reached for parent in self.parents(one)):
                reached.add(one)
        shown = [one for one in self._order if one in reached and one != name][:_AFTER]
        ends = [end for end in self.ends() if end in reached and end != name]
        return [*shown, *(end for end in ends if end not in shown)]

    def earliest(self, target: str, limit: float) -> str:
        """Bisection over what a departing tensor depends on, in the graph's order."""
        needed = needed_nodes(self._reference.graph, [target])
        made = {name for node in needed for name in node.output}
        scope = [name for name in self._order if name in made]
        low, high = -1, scope.index(target)
        while high - low > 1:
            cuts = np.unique(np.linspace(low, high, _CUTS + 2).astype(int)[1:-1])
            places = [int(place) for place in cuts if low < place < high]
            found = self.differences([scope[place] for place in places])
            departed = [difference.rms > limit for difference in found]
            bounds = [low, *places, high]
            flags = [False, *departed, True]
            low, high = next(
                (a, b)
                for (a, b), (_, second) in zip(pairwise(bounds), pairwise(flags), strict=True)
                if second
            )
        return scope[high]

    def differences(self, names: Sequence[str]) -> list[LayerDifference]:
        """Of the named tensors, in this order; what is not known yet is measured in one probe."""
        missing = [name for name in names if name not in self._known]
        if missing:
            self.probes += 1
            expected, received = (
                side(missing, self._sets) for side in (self._reference, self._candidate)
            )
            for name in missing:
                pairs = [(e[name], r[name]) for e, r in zip(expected, received, strict=True)]
                self._known[name] = self._difference(name, pairs)
        return [self._known[name] for name in names]

    def _difference(self, name: str, pairs: Sequence[tuple[Array, Array]]) -> LayerDifference:
        node = self._nodes[self._producer[name]]
        parts = [_compare(expected, received) for expected, received in pairs]
        rms = [part[0] for part in parts]
        if self._by_channel:
            rms = [_worst_channel(*pair, rows_free=name in self._behind) for pair in pairs]
        return LayerDifference(
            name,
            node.name,
            node.op_type,
            rms=max(rms),
            cosine=min(part[1] for part in parts),
            non_finite=sum(part[2] for part in parts),
        )


def _floats(graph: Any, others: set[str]) -> tuple[list[str], list[str]]:
    """Floating-point tensors of both graphs behind and before the sorting, in the graph's order."""
    types = {
        value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.output]
    }
    moving = {value.name for value in graph.input}  # depends on the input, not a constant
    sorted_: set[str] = set()
    behind: list[str] = []
    before: list[str] = []
    for node in graph.node:
        if not moving & set(node.input):
            continue
        moving |= set(node.output)
        if node.op_type in _SORTING or sorted_ & set(node.input):
            sorted_ |= set(node.output)
        found = behind if sorted_ & set(node.output) else before
        found += [name for name in node.output if types.get(name, 1) in _FLOATS and name in others]
    return behind, before


def _worst_channel(expected: Array, received: Array, *, rows_free: bool) -> float:
    """Largest root mean square of a channel's differences as a share of the tensor's values'."""
    if not expected.ndim or not expected.size:
        return 0.0
    size = float(np.sqrt(np.mean(expected.astype(np.float64) ** 2)))
    return float(channel_noise(expected, received, rows_free=rows_free).max()) / (size or 1.0)


def _compare(expected: Array, received: Array) -> tuple[float, float, int]:
    """Relative root mean square, cosine, and the number of values that are not finite."""
    if expected.shape != received.shape:
        return float("inf"), 0.0, 0
    a, b = expected.astype(np.float64).ravel(), received.astype(np.float64).ravel()
    finite = np.isfinite(a) & np.isfinite(b)
    if not finite.all():
        return float("inf"), 0.0, int((~finite).sum())
    size, other = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    difference = float(np.linalg.norm(a - b))
    cosine = float(a @ b) / (size * other) if size and other else float(size == other)
    return difference / size if size else difference, cosine, 0
