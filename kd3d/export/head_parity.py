"""The last layers of a file against those of the fp32 file: is it as noisy as when it was made?"""

from collections.abc import Callable, Sequence
from pathlib import Path

from kd3d.backends.base import Backend, Feeds
from kd3d.backends.bundle import Bundle
from kd3d.backends.head_noise import HeadDifference, accepted_from_json, head_differences
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.subgraph import InnerTensors

Open = Callable[[Path], Backend]


def head_parity(
    bundle: Bundle, precision: str, sets: Sequence[Feeds], *, real: bool, open_file: Open
) -> tuple[Sequence[HeadDifference], str]:
    """The differences, and why there are none.

    Right is model.onnx in ONNX Runtime, which has its own parity with PyTorch.

    Args:
        bundle: the export.
        precision: of the file in question.
        sets: inputs.
        real: of real images or frames: others may lie outside the ranges that int8 was given.
        open_file: makes a backend of a part of the file.
    """
    if precision == "fp32":
        return (), ""
    accepted = accepted_from_json(bundle.models[precision].details)
    if not accepted:
        return (), f"{precision}: export.json does not say what noise was accepted; export again"
    if precision == "int8" and not real:
        return (), "int8: the sample is no real image or frame, so its last layers say nothing"
    right = InnerTensors(bundle.verify("fp32"), OnnxRuntimeBackend)
    candidate = InnerTensors(bundle.verify(precision), open_file)
    return head_differences(right, candidate, sets, accepted), ""
