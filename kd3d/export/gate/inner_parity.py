"""Inside a file: are its last layers as quiet as when it was made, and does it decode them rightly?

A coarser precision may choose other rows than PyTorch where scores nearly tie, so its final boxes
are compared loosely. Inside, two things leave no such freedom: the noise of the last layers, and
what the file makes of its own last layers.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kd3d.backends.base import Array, Feeds
from kd3d.backends.bundle import Bundle
from kd3d.backends.first_departure import Departure, first_departure
from kd3d.backends.head_noise import (
    AcceptedNoise,
    HeadDifference,
    accepted_from_json,
    head_differences,
)
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.parity import Align, TensorDifference, tensor_difference, worse
from kd3d.backends.subgraph import InnerTensors, Open
from kd3d.export.graphs.graph_tail import Tail, read_tail


@dataclass(frozen=True)
class InnerParity:
    """What was found inside a file.

    Attributes:
        heads: the last layers against those of model.onnx.
        decoding: by output, against what model.onnx makes of this file's last layers; empty if it
            could not be compared.
        left_out: what was not compared, with the reason.
    """

    heads: Sequence[HeadDifference] = ()
    decoding: dict[str, TensorDifference] = field(default_factory=dict)
    left_out: Sequence[str] = ()


def inner_parity(
    bundle: Bundle,
    precision: str,
    sets: Sequence[Feeds],
    *,
    real: bool,
    align: Align | None,
    open_file: Open,
) -> InnerParity:
    """Runs the file once, up to its last layers and its outputs.

    Right is model.onnx in ONNX Runtime, which has its own parity with PyTorch.

    Args:
        bundle: the export.
        precision: of the file in question.
        sets: inputs.
        real: of real images or frames: others may lie outside the ranges that int8 was given.
        align: the order in which decoded rows are compared.
        open_file: makes a backend of a part of the file.
    """
    accepted, reason = _accepted(bundle, precision, real)
    candidate = InnerTensors(bundle.verify(precision), open_file)
    tail: Tail | None = read_tail(bundle.verify("fp32"))
    left_out = [f"last layers of {precision}: {reason}"] if reason else []
    if tail and not tail.in_graph(candidate.graph):
        left_out.append(f"decoding of {precision}: its graph has other tensors than model.onnx")
        tail = None
    names = [*accepted, *(tail.cut + tail.outputs if tail else ())]
    if not names:
        return InnerParity(left_out=left_out)
    answers = candidate(list(dict.fromkeys(names)), sets)
    heads: Sequence[HeadDifference] = ()
    if accepted:
        right = InnerTensors(bundle.verify("fp32"), OnnxRuntimeBackend)
        heads = head_differences(right, lambda names, sets: answers, sets, accepted)
    decoding = _decoding(tail, sets, answers, align) if tail else {}
    return InnerParity(heads, decoding, left_out)


def decoding_departure(
    bundle: Bundle, precision: str, sets: Sequence[Feeds], *, limit: float, open_file: Open
) -> Departure | None:
    """The first layer of a file's decoding that departs, all before it being as this file has it.

    Args:
        bundle: the export.
        precision: of a file whose ``decoding`` departs.
        sets: inputs.
        limit: of the relative root mean square of a tensor.
        open_file: makes a backend of a part of the file.
    """
    candidate = InnerTensors(bundle.verify(precision), open_file)
    tail = read_tail(bundle.verify("fp32"))
    answers = candidate(tail.cut, sets)
    fed = [{**feeds, **tail.feeds(feeds, a)} for feeds, a in zip(sets, answers, strict=True)]
    with tempfile.TemporaryDirectory(prefix="kd3d-tail-") as folder:
        right = InnerTensors(tail.write(Path(folder)), OnnxRuntimeBackend)
    return first_departure(right, candidate, fed, limit=limit, rows_free=True)


def _accepted(bundle: Bundle, precision: str, real: bool) -> tuple[dict[str, AcceptedNoise], str]:
    """Of each last layer; and why they cannot be compared."""
    if precision == "fp32":
        return {}, ""
    if precision == "int8" and not real:
        return {}, "the sample is no real image or frame, so its last layers say nothing"
    accepted = accepted_from_json(bundle.models[precision].details)
    reason = "export.json does not say what noise was accepted; export again"
    return accepted, "" if accepted else reason


def _decoding(
    tail: Tail,
    sets: Sequence[Feeds],
    answers: Sequence[dict[str, Array]],
    align: Align | None,
) -> dict[str, TensorDifference]:
    """The worst difference of each output over all inputs."""
    worst: dict[str, TensorDifference] = {}
    with tempfile.TemporaryDirectory(prefix="kd3d-tail-") as folder:
        backend = OnnxRuntimeBackend(tail.write(Path(folder)))
    with backend:
        for feeds, answer in zip(sets, answers, strict=True):
            expected = backend.infer(tail.feeds(feeds, answer))
            received = {name: answer[name] for name in tail.outputs}
            if align is not None:
                received = dict(align(expected, received))
            for name, array in expected.items():
                worst[name] = worse(worst.get(name), tensor_difference(array, received[name]))
    return worst
