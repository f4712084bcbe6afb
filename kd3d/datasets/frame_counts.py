"""How many frames a training set has, with labels and without."""

from typing import Any


def frames_of(dataset: Any) -> tuple[int, int]:  # Any: untyped libraries
    """(frames with labels, frames without) of a dataset, however it is wrapped or repeated."""
    if type(dataset).__name__ == "Unlabelled":
        return 0, len(dataset)
    parts = getattr(dataset, "datasets", None)
    if parts is None:
        inner = getattr(dataset, "dataset", None)
        return (len(dataset), 0) if inner is None else frames_of(inner)
    counts = [frames_of(part) for part in parts]
    return sum(labelled for labelled, _ in counts), sum(without for _, without in counts)
