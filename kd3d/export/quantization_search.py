"""Chooses ranges and the layers that stay float, by the noise they cause at the last layers.

Noise of different units adds up in power, nearly. So each unit is measured alone, with all others
in float32; but units that do little damage together are not taken apart.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kd3d.backends.base import Array, Feeds
from kd3d.export.graph_parts import WEIGHTED, Graph
from kd3d.export.quantization_units import (
    Unit,
    quantized_inputs,
    shared_ranges,
    weight_axis,
)
from kd3d.export.switched_model import Rounding, SwitchedModel, relative_noise

MEASURED_INPUTS = 2
# Noise power over signal power that the units may cause at a head, added up. YOLOX-nano on 128
# images of COCO: AP 33.5 in float32, 32.4 at 0.05, 32.8 at 0.02 (10 of 113 layers stay float).
NOISE = 0.02
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
        noise: head -> noise over signal with all the rest in int8.
    """

    kept: tuple[str, ...]
    damage: dict[str, float]
    ranges: dict[str, float]
    percentiles: dict[str, int]
    noise: dict[str, float]


@dataclass
class _Found:
    """What is known of one unit or of a few together."""

    units: list[Unit]
    percentile: float
    noise: Array = field(default_factory=lambda: np.zeros(0))  # at each head

    @property
    def worst(self) -> float:
        return float(self.noise.max(initial=0.0))


class QuantizationSearch:
    """Measures units of one model.

    Args:
        graph: of the float32 model.
        units: all of it.
        percentiles: percentile -> range of each tensor.
        given: ranges of tensors that are not to be chosen.
        calibration: inputs; the first ``MEASURED_INPUTS`` are measured on.
    """

    def __init__(
        self,
        graph: Graph,
        units: list[Unit],
        percentiles: Mapping[float, Mapping[str, float]],
        given: Mapping[str, float],
        calibration: Sequence[Feeds],
    ) -> None:
        self._graph, self._units = graph, units
        self._feeds = [calibration[i] for i in range(min(len(calibration), MEASURED_INPUTS))]
        trained = {unit.name for unit in units if set(unit.tensors) & given.keys()}
        self._ranges = {
            percentile: shared_ranges(units, {**found, **given})
            | shared_ranges([u for u in units if u.name in trained], given)
            for percentile, found in percentiles.items()
        }
        self._trained = trained
        self._heads = graph.heads
        self._model = SwitchedModel(
            graph,
            _rounding(graph, units),
            outputs=self._heads,
            constants=_rounded_weights(graph, units),
            settings={_scale(unit): np.array(1, np.float32) for unit in units}
            | {_ZERO: np.array(0, np.int8)},
        )
        self._plain = [self._model.run(feed) for feed in self._feeds]

    def choose(self, keep_float: Sequence[str] | None) -> Choice:
        """Ranges of all units, and the layers to keep float where they are not named."""
        # rounding before a selection changes its rows: what comes after cannot be compared then
        ordered = self._graph.after_selection()
        later = [unit for unit in self._units if ordered.issuperset(unit.nodes)]
        first = [unit for unit in self._units if unit not in later]
        found = [
            *(self._measure(first, self._graph.first_heads()) if first else []),
            *(self._measure(later, self._heads) if later else []),
        ]
        kept: set[str] = set(keep_float or ())
        damage: dict[str, float] = {}
        total = sum((part.noise for part in found), np.zeros(len(self._heads)))
        for part in sorted(found, key=lambda part: -part.worst):
            if keep_float is not None or total.max(initial=0.0) <= NOISE:
                break
            total = total - part.noise
            for name in (name for unit in part.units for name in unit.nodes):
                kept.add(name)
                damage[name] = max(part.worst, damage.get(name, 0.0))
        return self._choice(found, kept, damage)

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
                self._set(unit, limit)
                ranges |= dict.fromkeys(unit.tensors, limit)
        noise = dict(zip(self._heads, self._noise(left).tolist(), strict=True))
        first = self._graph.first_heads()
        order = [n for n in self._graph.nodes if n in kept]
        return Choice(
            tuple(order), damage, ranges, dict(sorted(counts.items())), {h: noise[h] for h in first}
        )

    def _measure(self, units: list[Unit], heads: Sequence[str]) -> list[_Found]:
        """The best percentile of these units; in halves, where they do more than their share.

        ``heads`` are those that count.
        """
        counts = np.array([head in heads for head in self._heads])
        tried = []
        for percentile, ranges in self._ranges.items():
            for unit in units:
                self._set(unit, ranges[unit.name])
            noise = self._noise([unit.name for unit in units])
            tried.append(_Found(units, percentile, np.where(counts, noise, 0.0)))
        best = min(tried, key=lambda part: part.worst)
        share = NOISE / 2 * len(units) / len(self._units)
        if len(units) == 1 or best.worst <= share:
            return [best]
        middle = len(units) // 2
        return self._measure(units[:middle], heads) + self._measure(units[middle:], heads)

    def _set(self, unit: Unit, limit: float) -> None:
        self._model.settings[_scale(unit)] = np.array(limit / _LEVELS, np.float32)

    def _noise(self, on: Collection[str]) -> Array:
        """Noise over signal at each head, with these units in int8."""
        received = [self._model.run(feed, on) for feed in self._feeds]
        return np.array(
            [
                relative_noise([p[head] for p in self._plain], [r[head] for r in received]) ** 2
                for head in self._heads
            ]
        )


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
