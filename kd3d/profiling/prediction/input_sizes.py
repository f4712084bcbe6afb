"""Sizes of a graph's inputs: free axes get numbers, and the first ones may tell the batch."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kd3d.errors import UserError

_BATCH_NAMES = re.compile(r"(batch.*|bs|b)", re.IGNORECASE)
# N may as well count pillars, points or queries: a batch only in front of images and maps.
_DOUBTFUL_NAMES = re.compile(r"(n|unk.*|dynamic.*|\?|-1|)", re.IGNORECASE)
_IMAGE_RANKS = (4, 5)  # (B, C, H, W), and with cameras or depth (B, N, C, H, W)
# Inputs of these operators, from this place on, are weights even where a file has no values.
_WEIGHT_SLOTS = {
    "Conv": 1,
    "ConvTranspose": 1,
    "Gemm": 1,
    "BatchNormalization": 1,
    "InstanceNormalization": 1,
    "LayerNormalization": 1,
    "PRelu": 1,
}


def weight_names(graph: Any) -> set[str]:  # Any: onnx's GraphProto
    """Initializers, and inputs that are weights: a file exported without them lists them so."""
    used: dict[str, set[bool]] = {}
    for node in graph.node:
        first = _WEIGHT_SLOTS.get(node.op_type, 99)
        for place, name in enumerate(node.input):
            used.setdefault(name, set()).add(place >= first)
    fixed = {
        value.name
        for value in graph.input
        if all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim)
    }
    return {tensor.name for tensor in graph.initializer} | {
        name for name in fixed if used.get(name) == {True}
    }


def free_sizes(graph: Any) -> dict[str, tuple[int | str, ...]]:
    """Shapes of the graph's inputs as the file gives them.

    A free size is its name; one without a name is called after its input and axis, "points.0".
    """
    weights = weight_names(graph)
    return {
        value.name: tuple(
            dim.dim_value if dim.dim_value > 0 else (dim.dim_param or f"{value.name}.{axis}")
            for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        )
        for value in graph.input
        if value.name not in weights
    }


def is_batch(axis: int, name: str, rank: int) -> bool:
    """Whether a free axis of an input of so many axes is taken as the batch."""
    doubtful = rank in _IMAGE_RANKS and _DOUBTFUL_NAMES.fullmatch(name) is not None
    return axis == 0 and (doubtful or _BATCH_NAMES.fullmatch(name) is not None)


def fix_sizes(graph: Any, batch: int | None, sizes: Mapping[str, int]) -> tuple[int | None, bool]:
    """Writes numbers into free axes of the inputs.

    Args:
        graph: changed.
        batch: size of free first axes [1].
        sizes: of other free axes, by name.

    Returns:
        The batch, None if the inputs do not tell it, and whether it was free.

    Raises:
        UserError: for a free size that is not given, or a size that no axis has.
    """
    free = free_sizes(graph)
    names = {name for shape in free.values() for name in shape if isinstance(name, str)}
    unused = sorted(set(sizes) - names)
    if unused:
        raise UserError(
            f"--size {unused[0]}: no free axis of an input has that name; "
            f"free are: {', '.join(sorted(names)) or 'none'}"
        )
    free_batch = False
    shapes = []
    for value in graph.input:
        if value.name not in free:
            continue
        dims = value.type.tensor_type.shape.dim
        for axis, (dim, label) in enumerate(zip(dims, free[value.name], strict=True)):
            if isinstance(label, int):
                continue
            if label in sizes:
                dim.dim_value = sizes[label]
            elif is_batch(axis, dim.dim_param, len(dims)):
                dim.dim_value = batch or 1
                free_batch = True
            else:
                raise UserError(
                    f"input {value.name!r}: axis {axis} ({label!r}) has no size in the file; "
                    f"give one: --size {label}=NUMBER (no export.json beside the file says it), "
                    "or export with fixed sizes"
                )
        shapes.append([dim.dim_value for dim in dims])
    if free_batch:
        return batch or 1, True
    return (1 if _all_of_one(free.values()) else _common_batch(shapes)), False


def _all_of_one(shapes: Iterable[Sequence[int | str]]) -> bool:
    """Whether the file fixes a first axis of 1 in all inputs that are more than a list."""
    first = {shape[0] for shape in shapes if len(shape) > 1}
    return first == {1}


def _common_batch(shapes: Sequence[Sequence[int]]) -> int | None:
    """Of fixed images or maps, if all inputs agree; pillars and queries are no batch."""
    first = {shape[0] for shape in shapes if shape}
    images = any(len(shape) in _IMAGE_RANKS for shape in shapes)
    return first.pop() if images and len(first) == 1 else None


def check_sizes(entries: Sequence[str]) -> dict[str, int]:
    """``["height=384"]`` to a dict.

    Raises:
        UserError: for another form.
    """
    sizes = {}
    for entry in entries:
        name, _, number = entry.partition("=")
        if not name or not number.isdigit() or int(number) < 1:
            raise UserError(f"--size {entry}: expected NAME=NUMBER, as in --size pillars=12000")
        sizes[name] = int(number)
    return sizes
