"""Noise of the last layers, channel by channel, against what the export measured and accepted.

An output tensor mixes levels, branches and classes: damage to one that sees little in the inputs
at hand disappears in it. The last layers ("heads") are a tensor for each level and branch, and what
a coarser precision adds there depends little on the input. So the noise that the export accepted on
its calibration inputs is the limit on all others, for each channel of each head.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.backends.base import Array, Feeds

ENTRY = "head_noise"  # of a model in export.json
_DIGITS = 1e-5  # of the values themselves: single precision
Noise = NDArray[np.float64]
Ask = Callable[[Sequence[str], Sequence[Feeds]], Sequence[Mapping[str, Array]]]
"""The named tensors of a file for each set of inputs, as ``InnerTensors`` gives them."""


@dataclass(frozen=True)
class AcceptedNoise:
    """What the export accepted at one head.

    Attributes:
        rms: of each channel, the root mean square of the differences, in the head's own unit.
        rows_free: the order of the rows is that of a selection, so that values are compared sorted.
    """

    rms: tuple[float, ...]
    rows_free: bool = False

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """For export.json."""
        return {"rms": [float(f"{value:.3g}") for value in self.rms], "rows_free": self.rows_free}


@dataclass(frozen=True)
class HeadDifference:
    """How noisy a head is: its worst channel.

    Attributes:
        head: name of its tensor.
        channel: that is worst.
        noise: root mean square of the differences there, the median over all inputs; inf where any
            value is not finite.
        accepted: the same, as the export accepted it.
    """

    head: str
    channel: int
    noise: float
    accepted: float

    @property
    def ratio(self) -> float:
        """Noise over what was accepted; 0 where there is none, whatever was accepted."""
        return float(_ratios(np.array(self.noise), np.array(self.accepted)))


def accepted_from_json(details: Mapping[str, Any]) -> dict[str, AcceptedNoise]:
    """Of the details of a model in export.json; empty if its export did not measure it."""
    return {
        str(head): AcceptedNoise(tuple(entry["rms"]), bool(entry["rows_free"]))
        for head, entry in details.get(ENTRY, {}).items()
    }


def accepted_noise(
    runs: Iterable[tuple[Mapping[str, Array], Mapping[str, Array]]],
    *,
    least: float,
    rows_free: Collection[str] = (),
) -> dict[str, AcceptedNoise]:
    """The noise over some runs, by head.

    A channel is given at least what its head has on average, because the noise of few cells is
    measured badly, and ``least``: so little decides nothing, and differs much from input to input.

    Args:
        runs: heads by name in single precision, and as the coarser one has them.
        least: as a share of how much the head's channels vary from cell to cell; twice as much
            where a selection may take one row in the place of another.
        rows_free: heads whose rows a selection has ordered.
    """
    noise: dict[str, list[Noise]] = {}
    powers: dict[str, list[tuple[float, float]]] = {}
    for expected, received in runs:
        for head, array in expected.items():
            found = channel_noise(array, received[head], rows_free=head in rows_free)
            noise.setdefault(head, []).append(found)
            rows = channel_rows(array)
            spread = rows - rows.mean(0) if len(rows) else rows
            powers.setdefault(head, []).append((_power(spread), _power(rows)))
    shares = (least, 2 * least)
    return {
        head: AcceptedNoise(
            tuple(_at_least(_pooled(each), powers[head], shares[head in rows_free]).tolist()),
            head in rows_free,
        )
        for head, each in noise.items()
    }


def _at_least(noise: Noise, powers: Sequence[tuple[float, float]], least: float) -> Noise:
    varying, whole = np.sqrt(np.mean(powers, axis=0))
    limit = max(np.sqrt(_power(noise)), least * varying, _DIGITS * whole)
    raised: Noise = np.maximum(noise, limit)
    return raised


def head_differences(
    reference: Ask,
    candidate: Ask,
    sets: Sequence[Feeds],
    accepted: Mapping[str, AcceptedNoise],
) -> tuple[HeadDifference, ...]:
    """Runs both files up to their heads and compares channel by channel.

    Args:
        reference: the file in single precision.
        candidate: the file in question, with tensors of the same names.
        sets: inputs at which both are asked.
        accepted: by head; not empty.
    """
    heads = list(accepted)
    runs = list(zip(reference(heads, sets), candidate(heads, sets), strict=True))
    return tuple(
        _difference(head, [(e[head], r[head]) for e, r in runs], limits)
        for head, limits in accepted.items()
    )


def channel_noise(expected: Array, received: Array, *, rows_free: bool = False) -> Noise:
    """(C,) root mean square of the differences of each channel; inf where one is not finite.

    Args:
        expected: (B, C, H, W), or (..., C).
        received: the same; of another shape it differs by infinity.
        rows_free: compares the sorted values of each channel: their distribution.
    """
    channels = channel_rows(expected).shape[1]
    if expected.shape != received.shape:
        return np.full(channels, np.inf)
    ours, theirs = channel_rows(expected), channel_rows(received)
    if not len(ours):
        return np.zeros(channels)
    if rows_free:
        ours, theirs = np.sort(ours, 0), np.sort(theirs, 0)
    noise: Noise = np.sqrt(np.mean((ours - theirs) ** 2, axis=0))
    return np.where(np.isfinite(noise), noise, np.inf)


def channel_rows(array: Array) -> Noise:
    """(cells, C) from (B, C, H, W) or (..., C)."""
    moved = np.moveaxis(array, 1, -1) if array.ndim == 4 else array
    return moved.reshape(-1, moved.shape[-1]).astype(np.float64)


def _difference(
    head: str, pairs: Sequence[tuple[Array, Array]], limits: AcceptedNoise
) -> HeadDifference:
    each = [channel_noise(*pair, rows_free=limits.rows_free) for pair in pairs]
    noise = np.median(each, axis=0)  # a fault shows in every input, an outlier in one
    noise[~np.isfinite(each).all(0)] = np.inf
    accepted = np.array(limits.rms)
    assert noise.shape == accepted.shape, f"{head}: {noise.shape} channels, {accepted.shape} limits"
    channel = int(np.argmax(_ratios(noise, accepted)))
    return HeadDifference(head, channel, float(noise[channel]), float(accepted[channel]))


def _ratios(noise: Noise, accepted: Noise) -> Noise:
    """Noise over what was accepted: 0 / 0 is 0, so that a channel of zeros that stay passes."""
    unaccepted = np.where(noise > 0, np.inf, 0.0)
    return np.divide(noise, accepted, out=unaccepted, where=accepted > 0)


def _pooled(each: Sequence[Noise]) -> Noise:
    """Root mean square over inputs."""
    pooled: Noise = np.sqrt(np.mean(np.square(each), axis=0))
    return pooled


def _power(values: Noise) -> float:
    return float(np.mean(np.square(values))) if values.size else 0.0
