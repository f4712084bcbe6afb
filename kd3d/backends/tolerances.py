"""What still counts as equal, by precision. The one place where these numbers stand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerances:
    """Limits of the three levels of parity, and of one layer where they fail.

    Attributes:
        relative: largest difference of an output tensor as a share of the range of its values and
            0. At 1 a row may be another one of the frame (``rms`` says how many may), but no value
            is beyond what the reference knows.
        rms: root mean square of its differences as a share of that of its values.
        iou: least overlap of two boxes in an image that are the same box.
        box: largest difference of two 3D boxes that are the same, in any of their values: metres,
            radians, m/s.
        score: largest difference of their scores.
        confident: boxes count from this share of the frame's best score on. 0 counts all; a
            coarser precision moves the many weak ones freely and must keep the strong ones.
        matched: least share of the counted boxes of both sides that have a partner. Not 1: where
            two boxes overlap by the NMS threshold or tie, the last digit decides which stays.
        part: ``rms`` of one level's part of an output, scores as log-odds; see ``level_parts``.
        head_noise: largest noise of a channel of a last layer, as a multiple of what the export
            measured and accepted there; of fp16 and int8.
        decoding: ``rms`` of an output from what model.onnx makes of the file's own last layers,
            which leave no choice of rows.
        metric: largest loss of the task metric (AP or NDS), in points.
        layer: ``rms`` of an inner tensor from which on its layer is said to depart.
    """

    relative: float = 1e-3
    rms: float = 1e-3
    iou: float = 0.99
    box: float = 0.01
    score: float = 1e-3
    confident: float = 0.0
    matched: float = 0.98
    part: float = 1e-3
    head_noise: float = 2.0
    decoding: float = 1e-3
    metric: float = 0.5
    layer: float = 1e-3


# TensorRT multiplies fp32 in TF32 (10 bits of mantissa, as fp16) where the GPU offers it.
TF32 = "tf32"

TOLERANCES = {
    "fp32": Tolerances(),
    TF32: Tolerances(
        relative=0.02,
        rms=0.005,
        iou=0.95,
        box=0.05,
        score=0.01,
        confident=0.1,
        matched=0.95,
        part=0.02,
        decoding=0.005,
        layer=0.005,
    ),
    "fp16": Tolerances(
        relative=0.1,
        rms=0.02,
        iou=0.9,
        box=0.1,
        score=0.02,
        confident=0.1,
        matched=0.95,
        part=0.02,
        decoding=0.02,
        metric=0.5,
        layer=0.02,
    ),
    "int8": Tolerances(
        relative=1.0,
        rms=0.3,
        iou=0.6,
        box=0.5,
        score=0.2,
        confident=0.5,
        matched=0.8,
        part=0.3,
        decoding=0.005,  # int8 ends before it: TF32 at most
        metric=1.0,
        layer=0.3,
    ),
}


def tolerances_of(backend: str, precision: str) -> Tolerances:
    """What counts as equal for a file of this precision in this backend."""
    is_tf32 = backend == "tensorrt" and precision == "fp32"
    return TOLERANCES[TF32 if is_tf32 else precision]
