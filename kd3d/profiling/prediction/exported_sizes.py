"""What the export.json beside a file says of its sizes: the number of pillars, and the batch."""

from collections.abc import Mapping
from pathlib import Path

import onnx

from kd3d.backends.bundle import FILE_NAME, Bundle
from kd3d.errors import UserError
from kd3d.profiling.prediction.input_sizes import free_sizes, is_batch
from kd3d.profiling.prediction.onnx_graph import read_onnx


def exported_sizes(
    source: str | Path | onnx.ModelProto, given: Mapping[str, int]
) -> dict[str, int]:
    """Name of a free axis -> its size in "opt" of the export's profiles, that of the sample.

    Args:
        source: a file, or a model, which lies beside nothing.
        given: sizes that are known, by the same names; they are left out, as is a batch.

    Returns:
        Empty where no export.json that names this file lies beside it.
    """
    bundle = _bundle_of(source)
    if bundle is None:
        return {}
    return {
        str(name): bundle.profiles[tensor]["opt"][axis]
        for tensor, shape in free_sizes(read_onnx(source).graph).items()
        for axis, name in enumerate(shape)
        if isinstance(name, str) and name not in given and not is_batch(axis, name, len(shape))
        if tensor in bundle.profiles
    }


def exported_batch(source: str | Path | onnx.ModelProto) -> int | None:
    """Images or frames a run of a file that takes a fixed number; None where nothing says it."""
    bundle = _bundle_of(source)
    batch = bundle.manifest.get("batch") if bundle else None
    return None if batch is None else int(batch)


def counts_rows(source: str | Path | onnx.ModelProto) -> bool:
    """Whether a free first axis of an input is no batch but counts pillars or points."""
    return any(
        isinstance(name, str) and not is_batch(axis, name, len(shape))
        for shape in free_sizes(read_onnx(source).graph).values()
        for axis, name in enumerate(shape[:1])
    )


def _bundle_of(source: str | Path | onnx.ModelProto) -> Bundle | None:
    if isinstance(source, onnx.ModelProto) or not (Path(source).parent / FILE_NAME).is_file():
        return None
    try:
        bundle = Bundle.read(Path(source).parent)
    except UserError:  # of another program: the size can still be given
        return None
    named = {model.file for model in bundle.models.values()}
    return bundle if Path(source).name in named else None
