"""Chooses ranges and the layers that stay float, by the noise they cause at the last layers.

Cells without an object are most of those of a last layer. So the outputs count too, where their
rows have a fixed order: the large scores weigh most there, and a range that clips what is sure of
itself does its damage to them.

Noise of different units adds up in power, nearly. So each unit is measured alone, with all others
in float32; units that do little damage together are not taken apart unless it comes to dropping
them. Those that cost most noise for each layer that they would keep in int8 go back to float, until
the rest causes no more than ``NOISE``; what was added up too high is tried in int8 again.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kd3d.backends.base import Array, Feeds
from kd3d.backends.head_noise import AcceptedNoise, accepted_noise, channel_rows
from kd3d.export.graphs.graph_parts import WEIGHTED, Graph
from kd3d.export.int8.quantization_units import (
    Unit,
    quantized_inputs,
    shared_ranges,
    weight_axis,
)
from kd3d.export.int8.switched_model import Rounding, SwitchedModel

MEASURED_INPUTS = 4
ACCEPTED_INPUTS = 32  # the noise of the file is measured on, spread over the calibration inputs
# Noise power that int8 may cause at a head or output, over the power of what varies there from cell
# to cell: a bias of the class layer (-4.6 where few cells hold an object) says nothing. Chosen with
# YOLOX-nano on 128 images of COCO's training set, 64 of which it was calibrated on, to lose at most
# 1 AP: 33.0 in float32, 32.5 at 0.03 (88 of 113 layers in int8), 32.3 at 0.04 (98), 31.8 at 0.05
# (104), 31.4 at 0.08 (109).
NOISE = 0.04
_SILENT = 1e-4  # of the whole power: where next to nothing varies
_LEAST_ACCEPTED = 0.15  # of what varies at a head, for the gate; NOISE is the square of 0.22
_LEVELS = 127.0
_TRAINED = "training"


@dataclass(frozen=True)
class Choice:
    """What the search decided.

    Attributes:
        kept: names of layers that stay float.
        damage: of those that the search kept, noise over signal that each would cause.
        ranges: of each quantised tensor, the absolute value that becomes 127.
        percentiles: percentile or "training" -> number of scales.
        noise: head or output -> noise over signal with all the rest in int8.
        accepted: the same channel by channel, in the head's own unit, for the gate.
    """

    kept: tuple[str, ...]
    damage: dict[str, float]
    ranges: dict[str, float]
    percentiles: dict[str, int]
    noise: dict[str, float]
    accepted: dict[str, AcceptedNoise]


@dataclass
class _Found:
    """What is known of one unit or of a few together."""

    units: list[Unit]
    percentile: float
    noise: Array = field(default_factory=lambda: np.zeros(0))  # at each head

    @property
    def worst(self) -> float:
        return float(self.noise.max(initial=0.0))

    @property
    def nodes(self) -> list[str]:
        return [name for unit in self.units for name in unit.nodes]


class QuantizationSearch:
    """Measures units of one model.

    Args:
        graph: of the float32 model.
        units: all of it.
        percentiles: percentile -> range of each tensor.
        given: ranges of tensors that are not to be chosen.
        calibration: inputs; ``MEASURED_INPUTS`` of them are measured on.
    """

    def __init__(
        self,
        graph: Graph,
        units: list[Unit],
        percentiles: Mapping[float, Mapping[str, float]],
        given: Mapping[str, float],
        calibration: Sequence[Feeds],
    ) -> None:
        self._graph, self._units, self._calibration = graph, units, calibration
        self._feeds = [calibration[i] for i in _spread(len(calibration), MEASURED_INPUTS)]
        trained = {unit.name for unit in units if set(unit.tensors) & given.keys()}
        self._ranges = {
            percentile: shared_ranges(units, {**found, **given})
            | shared_ranges([u for u in units if u.name in trained], given)
            for percentile, found in percentiles.items()
        }
        self._trained = trained
        plain = graph.plain_outputs()
        self._heads = list(dict.fromkeys([*graph.heads, *plain]))
        self._first_heads = [h for h in self._heads if h in plain or h in graph.first_heads()]
        self._model = SwitchedModel(
            graph,
            _rounding(graph, units),
            outputs=self._heads,
            constants=_rounded_weights(graph, units),
            settings={_scale(unit): np.array(1, np.float32) for unit in units}
            | {_ZERO: np.array(0, np.int8)},
        )
        self._plain = [self._model.run(feed) for feed in self._feeds]
        self._signal = [self._varying(head) for head in self._heads]

    def choose(self, keep_float: Sequence[str] | None) -> Choice:
        """Ranges of all units, and the layers to keep float where they are not named."""
        # rounding before a selection changes its rows: what comes after cannot be compared then
        ordered = self._graph.after_selection()
        later = [unit for unit in self._units if ordered.issuperset(unit.nodes)]
        first = [unit for unit in self._units if unit not in later]
        groups = ((first, self._first_heads), (later, self._heads))
        found: list[_Found] = []
        kept: set[str] = set(keep_float or ())
        damage: dict[str, float] = {}
        for units, heads in groups:
            parts = self._measure(units, heads) if units else []
            if keep_float is None:
                parts, dropped = self._reduce(parts, heads)
                found += dropped
                for part in dropped:
                    kept.update(part.nodes)
                    damage |= {n: max(part.worst, damage.get(n, 0.0)) for n in part.nodes}
            found += parts
        return self._choice(found, kept, damage)

    def _reduce(
        self, parts: list[_Found], heads: Sequence[str]
    ) -> tuple[list[_Found], list[_Found]]:
        """What stays in int8, and what goes back to float so that the noise is bearable."""
        left: list[_Found] = list(parts)
        dropped: list[_Found] = []
        beyond = np.zeros(len(self._heads))  # of all together over the sum of the parts
        while True:
            while left and (total := self._sum(left) + beyond).max() > NOISE:
                worst = max(left, key=lambda part: part.noise[total.argmax()] / self._cost(part))
                left.remove(worst)
                if len(worst.units) == 1:
                    dropped.append(worst)
                else:
                    left += self._halves(worst, heads)
            together = self._together(left, heads)
            if together.max(initial=0.0) <= NOISE:
                break
            beyond = together - self._sum(left)
        for part in sorted(dropped, key=lambda part: part.worst / self._cost(part)):
            alone = part.worst <= NOISE
            if alone and self._together([*left, part], heads).max(initial=0.0) <= NOISE:
                left.append(part)
                dropped.remove(part)
        return left, dropped

    def _sum(self, parts: list[_Found]) -> Array:
        return sum((part.noise for part in parts), np.zeros(len(self._heads)))

    def _cost(self, part: _Found) -> int:
        """Weighted layers that would be computed in float: what costs time on the vehicle."""
        weighted = [n for n in part.nodes if self._graph.nodes[n].op_type in WEIGHTED]
        return max(1, len(weighted))

    def _together(self, parts: list[_Found], heads: Sequence[str]) -> Array:
        """Noise of all at once, at ``heads``."""
        for part in parts:
            self._set_all(part.units, part.percentile)
        on = [unit.name for part in parts for unit in part.units]
        return np.where(self._counts(heads), self._noise(on), 0.0)

    def _choice(self, found: list[_Found], kept: set[str], damage: dict[str, float]) -> Choice:
        ranges: dict[str, float] = {}
        counts: dict[str, int] = {}
        left = []
        for part in found:
            for unit in part.units:
                if kept.issuperset(unit.nodes):
                    continue
                left.append(unit.name)
                name = _TRAINED if unit.name in self._trained else f"{part.percentile:g} %"
                counts[name] = counts.get(name, 0) + 1
                limit = self._ranges[part.percentile][unit.name]
                ranges |= dict.fromkeys(unit.tensors, limit)
            self._set_all(part.units, part.percentile)
        noise = dict(zip(self._heads, self._noise(left).tolist(), strict=True))
        order = [n for n in self._graph.nodes if n in kept]
        return Choice(
            tuple(order),
            damage,
            ranges,
            dict(sorted(counts.items())),
            {h: noise[h] for h in self._first_heads},
            self._accepted(left),
        )

    def _measure(self, units: list[Unit], heads: Sequence[str]) -> list[_Found]:
        """The best percentile of these units; in halves, where they do more than their share.

        ``heads`` are those that count.
        """
        tried = []
        for percentile in self._ranges:
            self._set_all(units, percentile)
            noise = np.where(self._counts(heads), self._noise([unit.name for unit in units]), 0.0)
            tried.append(_Found(units, percentile, noise))
        best = min(tried, key=lambda part: part.worst)
        share = NOISE / 2 * len(units) / len(self._units)
        if len(units) == 1 or best.worst <= share:
            return [best]
        return self._halves(best, heads)

    def _halves(self, part: _Found, heads: Sequence[str]) -> list[_Found]:
        middle = len(part.units) // 2
        first, second = part.units[:middle], part.units[middle:]
        return self._measure(first, heads) + self._measure(second, heads)

    def _counts(self, heads: Sequence[str]) -> Array:
        return np.array([head in heads for head in self._heads])

    def _accepted(self, on: Collection[str]) -> dict[str, AcceptedNoise]:
        """What these units in int8 do to each channel of each head."""
        places = _spread(len(self._calibration), ACCEPTED_INPUTS)
        feeds = (self._calibration[place] for place in places)
        heads = self._graph.heads
        runs = (
            ({h: plain[h] for h in heads}, received) for plain, received in self._pairs(feeds, on)
        )
        rows_free = set(heads).difference(self._graph.first_heads())
        return accepted_noise(runs, least=_LEAST_ACCEPTED, rows_free=rows_free)

    def _pairs(
        self, feeds: Iterable[Feeds], on: Collection[str]
    ) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
        """What the model answers in float32, and with these units in int8."""
        for feed in feeds:
            yield self._model.run(feed), self._model.run(feed, on)

    def _set_all(self, units: list[Unit], percentile: float) -> None:
        for unit in units:
            limit = self._ranges[percentile][unit.name]
            self._model.settings[_scale(unit)] = np.array(limit / _LEVELS, np.float32)

    def _varying(self, head: str) -> float:
        """Power of a head's channels around their means, over all inputs."""
        rows = np.concatenate([channel_rows(plain[head]) for plain in self._plain])
        return float(np.square(rows - rows.mean(0)).sum() + _SILENT * np.square(rows).sum())

    def _noise(self, on: Collection[str]) -> Array:
        """Noise over signal at each head, with these units in int8."""
        received = [self._model.run(feed, on) for feed in self._feeds]
        found = []
        for head, signal in zip(self._heads, self._signal, strict=True):
            pairs = zip(self._plain, received, strict=True)
            noise = sum(float(np.square(r[head] - p[head]).sum()) for p, r in pairs)
            finite = all(np.isfinite(r[head]).all() for r in received)
            found.append(noise / signal if signal and finite else float("inf") if noise else 0.0)
        return np.array(found)


def _spread(count: int, wanted: int) -> list[int]:
    """Places of at most ``wanted`` of ``count``, each in the middle of its share."""
    return [int(place) for place in np.unique((np.arange(wanted) + 0.5) / wanted * count // 1)]


_ZERO = "zero point"


def _scale(unit: Unit) -> str:
    return f"scale:{unit.name}"


def _weights(graph: Graph, unit: Unit) -> list[Any]:
    """Weighted layers whose input is of this unit: their weights are switched with it."""
    return [graph.nodes[n] for n in unit.nodes if graph.nodes[n].op_type in WEIGHTED]


def _rounded_weights(graph: Graph, units: list[Unit]) -> dict[str, Array]:
    """Weights as int8 per output channel would leave them, by the name of the layer."""
    rounded = {}
    for node in (node for unit in units for node in _weights(graph, unit)):
        weight = graph.constants[node.input[1]]
        axis = weight_axis(node, weight.ndim)
        others = tuple(index for index in range(weight.ndim) if index != axis)
        scale = np.abs(weight).max(axis=others, keepdims=True) / np.float32(_LEVELS)
        scale[scale == 0] = 1
        rounded[f"int8:{node.name}"] = (np.round(weight / scale) * scale).astype(np.float32)
    return rounded


def _rounding(graph: Graph, units: list[Unit]) -> Rounding:
    from onnx import helper

    unit_of = {tensor: unit for unit in units for tensor in unit.tensors}

    def rounding(node: Any, tensor: str, reads: bool) -> tuple[str, list[Any]] | None:
        activations = quantized_inputs(graph, node)
        if not reads or not activations or activations[0] not in unit_of:
            return None
        if node.op_type in WEIGHTED and tensor == node.input[1]:
            weight = f"int8:{node.name}"
            step = helper.make_node("Identity", [weight], ["weight"], name="weight")
            return unit_of[activations[0]].name, [step]
        if tensor not in activations:
            return None
        unit = unit_of[tensor]
        pair = [_scale(unit), _ZERO]
        return unit.name, [
            helper.make_node("QuantizeLinear", [tensor, *pair], ["int8"], name="int8"),
            helper.make_node("DequantizeLinear", ["int8", *pair], ["rounded"], name="rounded"),
        ]

    return rounding
