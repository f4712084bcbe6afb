"""What kernels save by what stands beside them: activations taken in, joint tensors in place."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kd3d.profiling.prediction.fused_layer import FusedLayer
from kd3d.profiling.prediction.fusion import FusedGraph
from kd3d.profiling.prediction.kernel_work import LayerWork, tensor_bytes


def join_activations(layers: Sequence[FusedLayer], work: list[LayerWork]) -> list[LayerWork]:
    """A product whose activation may be fused writes what the activation writes.

    What it writes more when the activation is a kernel apart goes into ``apart_bytes``.
    """
    writer = {name: place for place, layer in enumerate(layers) for name in layer.outputs}
    joined = list(work)
    for place, layer in enumerate(layers):
        if not layer.epilogue:
            continue
        before = next(
            p
            for n in layer.inputs
            if (p := writer.get(n)) is not None
            and layers[p].kind == "product"
            and len(layers[p].outputs) == 1
        )
        if joined[before].math == "fp32":  # no kernel of TF32 ends with another activation
            joined[place] = replace(joined[place], epilogue=False)
            continue
        final = joined[place].write_bytes
        joined[before] = replace(
            joined[before],
            write_bytes=final,
            apart_bytes=joined[before].write_bytes - final,
        )
    return joined


def copy_into_concats(
    fused: FusedGraph, work: Sequence[LayerWork], storage: Mapping[str, str]
) -> list[LayerWork]:
    """A concatenation copies only what could not be written into it at once.

    Convolutions and activations write in place. Sums with a shortcut do not, nor what is sliced,
    pooled or resized: each of these takes a copy. A tensor lies in one place, so of the
    concatenations of a DenseNet all but one copy it: the last one has it in place, as TensorRT's
    builder goes through them from the last to the first ("Retargeting ...", "Generating copy for
    ...", a line for each input, in the log of its GitHub issue 3254).
    """
    placed: set[str] = set()
    writer = {name: layer for layer in fused.layers for name in layer.outputs}
    found = list(work)
    for place, layer in reversed(list(enumerate(fused.layers))):
        if layer.kind != "concat":
            continue
        copied = [n for n in layer.inputs if n in placed or not _in_place(writer.get(n))]
        placed.update(layer.inputs)
        moved = sum(tensor_bytes(fused.tensor(n), storage.get(n, work[place].math)) for n in copied)
        share = moved / work[place].read_bytes if work[place].read_bytes else 0.0
        found[place] = replace(
            work[place],
            read_bytes=float(moved),
            write_bytes=work[place].write_bytes * share,
            elements=work[place].elements * share,
            launches=len(copied),
        )
    return found


def _in_place(layer: FusedLayer | None) -> bool:
    return (
        layer is not None
        and layer.kind in ("product", "pointwise", "concat")
        and not {"Add", "Sum"} & set(layer.operators)
    )
