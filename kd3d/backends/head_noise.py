"""Noise of the last layers, channel by channel, against what the export measured and accepted.

An output tensor mixes levels, branches and classes: damage to one that sees little in the inputs
at hand disappears in it. The last layers ("heads") are a tensor for each level and branch, and what
a coarser precision adds there depends little on the input. So the noise that the export accepted on
its calibration inputs is the limit on all others, for each channel of each head.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.backends.base import Array, Feeds
from kd3d.backends.subgraph import InnerTensors

ENTRY = "head_noise"  # of a model in export.json
# What a head is given at least, as a share of how much its channels vary from cell to cell: so
# little decides nothing, and what is so small may differ several times from input to input.
_FLOOR = 0.05
_DIGITS = 1e-5  # of the values themselves: single precision
Noise = NDArray[np.float64]


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
        noise: root mean square of the differences there, over all inputs; inf for values that are
            not finite.
        accepted: the same, as the export accepted it.
    """

    head: str
    channel: int
    noise: float
    accepted: float

    @property
    def ratio(self) -> float:
        """Noise over what was accepted."""
        return self.noise / self.accepted if self.accepted else float("inf")


def accepted_from_json(details: Mapping[str, Any]) -> dict[str, AcceptedNoise]:
    """Of the details of a model in export.json; empty if its export did not measure it."""
    return {
        str(head): AcceptedNoise(tuple(entry["rms"]), bool(entry["rows_free"]))
        for head, entry in details.get(ENTRY, {}).items()
    }


def accepted_noise(
    runs: Iterable[tuple[Mapping[str, Array], Mapping[str, Array]]], rows_free: Collection[str] = ()
) -> dict[str, AcceptedNoise]:
    """The largest noise over some runs, by head.

    A channel is given at least what its head has on average, because the noise of few cells is
    measured badly, and a small share of what the head has to say.

    Args:
        runs: heads by name in single precision, and as the coarser one has them.
        rows_free: heads whose rows a selection has ordered.
    """
    most: dict[str, Noise] = {}
    for expected, received in runs:
        for head, array in expected.items():
            noise = channel_noise(array, received[head], rows_free=head in rows_free)
            spread = channel_rows(array) - channel_rows(array).mean(0) if array.size else array
            least = max(_FLOOR * _root_mean_square(spread), _DIGITS * _root_mean_square(array))
            noise = np.maximum(noise, max(_root_mean_square(noise), least))
            most[head] = np.maximum(noise, most.get(head, 0.0))
    return {
        head: AcceptedNoise(tuple(noise.tolist()), head in rows_free)
        for head, noise in most.items()
    }


def head_differences(
    reference: InnerTensors,
    candidate: InnerTensors,
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
    noise: Noise = np.sqrt(np.mean(np.square(each), axis=0))
    accepted = np.array(limits.rms)
    assert noise.shape == accepted.shape, f"{head}: {noise.shape} channels, {accepted.shape} limits"
    channel = int(np.argmax(noise / accepted))
    return HeadDifference(head, channel, float(noise[channel]), float(accepted[channel]))


def _root_mean_square(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0
