"""Ranges of an ONNX model's tensors over real inputs, collected by onnxruntime's calibrators."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.backends.base import Feeds, check_feeds
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.errors import UserError

# Of the absolute values of a tensor; what lies above is clipped.
PERCENTILES = (99.9, 99.99, 99.999)


def check_calibration(source: str | Path, feeds: Sequence[Feeds]) -> None:
    """Raises a UserError if there are no inputs, or one that the model cannot take."""
    if not len(feeds):
        raise UserError(
            f"{source}: no calibration inputs; give at least one, better 32 real ones, made by the "
            "same preprocessing as at run time"
        )
    with OnnxRuntimeBackend(source, threads=1) as backend:
        for index in range(len(feeds)):
            try:
                check_feeds(backend.inputs, feeds[index])
            except UserError as error:
                raise UserError(f"calibration input {index}: {error}") from error
            for name, array in feeds[index].items():
                if array.size == 0 or not np.isfinite(array).all():
                    kind = "empty" if array.size == 0 else "not finite"
                    raise UserError(
                        f"calibration input {index}, '{name}': expected finite values, but it is "
                        f"{kind}; look at the preprocessing or leave this input out"
                    )


def largest_values(source: str | Path, feeds: Sequence[Feeds]) -> dict[str, float]:
    """Largest absolute value of every float tensor that a node makes or an input holds."""
    from onnxruntime.quantization import CalibrationMethod

    with _calibrator(source, None, CalibrationMethod.MinMax) as calibrator:
        for index in range(len(feeds)):
            calibrator.collect_data(_Reader(feeds[index]))
        return _largest(calibrator.compute_data().items())


def percentile_ranges(
    source: str | Path, feeds: Sequence[Feeds], op_types: Sequence[str]
) -> dict[float, dict[str, float]]:
    """For each of ``PERCENTILES`` the range of each tensor: values beyond it would be clipped.

    The percentile is taken over all values of all inputs. One input is in memory at a time, and
    they may differ in size (pillars).

    Args:
        source: a float32 file.
        feeds: real inputs.
        op_types: whose inputs and outputs are measured.
    """
    from onnxruntime.quantization import CalibrationMethod

    histograms = _Histograms()
    with _calibrator(source, op_types, CalibrationMethod.Percentile) as calibrator:
        calibrator.collector = histograms
        for index in range(len(feeds)):
            calibrator.collect_data(_Reader(feeds[index]))
    return {percentile: histograms.ranges(percentile) for percentile in PERCENTILES}


class _Histograms:
    """Counts absolute values on a logarithmic scale, in the place of onnxruntime's own collector.

    That one takes its bins from the first input: an outlier later on makes millions of them, and
    it does not take inputs of different sizes.
    """

    # the exponent and the first 6 bits of the fraction of a float32: bins of at most 1.6 %
    _SHIFT = 17

    def __init__(self) -> None:
        self._counts: dict[str, NDArray[np.int64]] = {}
        self._most: dict[str, float] = {}

    def collect(self, arrays: Mapping[str, Sequence[NDArray[np.float32]]]) -> None:
        """Adds the values of some tensors; named as onnxruntime calls it."""
        for name, parts in arrays.items():
            for part in parts:
                values = np.abs(part.ravel())
                bins = np.bincount(values.view(np.uint32) >> self._SHIFT, minlength=1 << 14)
                self._counts[name] = self._counts.get(name, 0) + bins
                self._most[name] = max(self._most.get(name, 0.0), float(values.max(initial=0)))

    def ranges(self, percentile: float) -> dict[str, float]:
        """Of each tensor the value that this share of its absolute values does not pass."""
        found = {}
        for name, counts in self._counts.items():
            needed = np.ceil(counts.sum() * percentile / 100)
            last = int(np.searchsorted(np.cumsum(counts), needed))
            edge = np.array((last + 1) << self._SHIFT, np.uint32).view(np.float32)
            found[name] = min(float(edge), self._most[name])
        return found


class _Reader:
    """One input, as onnxruntime wants to be given it."""

    def __init__(self, feeds: Feeds) -> None:
        self._next: Feeds | None = feeds

    def get_next(self) -> Mapping[str, Any] | None:
        feeds, self._next = self._next, None
        return None if feeds is None else dict(feeds)


@contextmanager
def _calibrator(
    source: str | Path, op_types: Sequence[str] | None, method: Any
) -> Iterator[Any]:  # Any: onnxruntime is untyped
    from onnxruntime.quantization import create_calibrator

    with tempfile.TemporaryDirectory() as folder:
        yield create_calibrator(
            Path(source),
            None if op_types is None else list(op_types),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=method,
        )


def _largest(ranges: Any) -> dict[str, float]:
    return {
        name: float(max(np.abs(data.lowest).max(), np.abs(data.highest).max()))
        for name, data in ranges
    }
