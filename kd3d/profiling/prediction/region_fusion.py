"""Small layers around a sorting one that run as few kernels.

TensorRT hands parts of a graph to a compiler of its own (Myelin) that writes one kernel for
whatever pointwise operators, reductions, slices, transpositions and gathers follow one another; a
detector's choice of its best boxes is such a part. Sorting stays a kernel, and so do products.
"""

from collections.abc import Sequence

from kd3d.profiling.prediction.fused_layer import FusedLayer

_KINDS = frozenset(["pointwise", "concat", "slice", "copy"])


def join_regions(layers: Sequence[FusedLayer]) -> list[FusedLayer]:
    """Layers linked to a sorting one become one kernel for each stretch between other kernels.

    Args:
        layers: in an order that runs; the result's inputs and outputs are to be worked out anew.
    """
    levels = _levels(layers)
    swallowed: set[int] = set()
    for first, *others in _regions(layers, levels):
        layers[first].kind = "pointwise"
        layers[first].nodes += [node for place in others for node in layers[place].nodes]
        swallowed.update(others)
    order = sorted(range(len(layers)), key=lambda place: levels[place])
    return [layers[place] for place in order if place not in swallowed]


def _levels(layers: Sequence[FusedLayer]) -> list[int]:
    """How many kernels that cannot be joined lie before each layer, at most."""
    made: dict[str, int] = {}
    levels = []
    for layer in layers:
        level = max((made[name] for name in layer.inputs if name in made), default=0)
        levels.append(level)
        behind = level if layer.kind in _KINDS else level + 1
        made.update(dict.fromkeys(layer.outputs, behind))
    return levels


def _regions(layers: Sequence[FusedLayer], levels: Sequence[int]) -> list[list[int]]:
    """Places of layers of one level that a chain of small layers links to the same sorting one."""
    parent = list(range(len(layers)))

    def root(place: int) -> int:
        while parent[place] != place:
            place = parent[place]
        return place

    writer = {name: place for place, layer in enumerate(layers) for name in layer.outputs}
    linked = [layer.kind in _KINDS or layer.kind == "sort" for layer in layers]
    for place, layer in enumerate(layers):
        for name in layer.inputs if linked[place] else ():
            other = writer.get(name)
            if other is not None and linked[other]:
                parent[root(place)] = root(other)
    sorting = {root(place) for place, layer in enumerate(layers) if layer.kind == "sort"}
    groups: dict[tuple[int, int], list[int]] = {}
    for place, layer in enumerate(layers):
        if layer.kind in _KINDS and root(place) in sorting:
            groups.setdefault((root(place), levels[place]), []).append(place)
    return [group for group in groups.values() if len(group) > 1]
