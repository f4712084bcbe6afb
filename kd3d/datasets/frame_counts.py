"""How many frames a training set has, with labels and without."""

from typing import Any


def count_frames(dataset: Any) -> tuple[int, int]:  # Any: untyped libraries
    """(frames with labels, frames without) of a dataset, however it is wrapped or repeated."""
    if type(dataset).__name__ == "Unlabelled":
        return 0, len(dataset)
    parts = getattr(dataset, "datasets", None)
    if parts is None:
        inner = getattr(dataset, "dataset", None)
        return (len(dataset), 0) if inner is None else count_frames(inner)
    counts = [count_frames(part) for part in parts]
    return sum(labelled for labelled, _ in counts), sum(without for _, without in counts)
