"""One real batch, and a forward on a copy of the student, that leave training as it was."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from kd3d.distill import random_state
from kd3d.distill.distiller import Distiller
from kd3d.errors import UserError


def training_batch(runner: Any, student: nn.Module) -> dict[str, Any]:
    """Up to two frames preprocessed as in training, drawn without moving any generator or cache.

    They come from each part of a joined dataset in turn; a batch size of 1 of the loader holds.
    What MMEngine tells of the training from its first iteration on is known from here on: some
    losses (TOOD, BoxInst) and batch augmentations read it.

    Args:
        runner: its train loop is built.
        student: its data preprocessor makes the network input.

    Returns:
        ``{"inputs": (B, C, H, W), "data_samples": [...]}`` on the student's device.

    Raises:
        UserError: the dataset is empty.
    """
    loader = runner.train_dataloader
    dataset = loader.dataset
    if len(dataset) == 0:
        raise UserError("the training dataset is empty; check ann_file, filter_cfg and data_root")
    for name in ("epoch", "iter"):
        runner.message_hub.update_info(name, getattr(runner, name))
    with random_state.preserved():
        dataset = copy.deepcopy(dataset, _shared_annotations(dataset))
        count = min(2, frames_at_once(loader))
        samples = [dataset[index] for index in _indices(dataset, count)]
        preprocessor: Any = copy.deepcopy(student.data_preprocessor)
        batch: dict[str, Any] = preprocessor(loader.collate_fn(samples), True)
    return batch


def frames_at_once(loader: Any) -> int:
    """The batch size of a torch DataLoader, which a batch sampler of the config's keeps itself."""
    size = getattr(loader.batch_sampler, "batch_size", None) or loader.batch_size or 1
    return max(size) if isinstance(size, list | tuple) else int(size)  # mmdet's has one a part


@contextmanager
def recorded_copy(distiller: Distiller) -> Iterator[Distiller]:
    """A detached twin of the distiller around a copy of its student, in train mode.

    Batch statistics, caches and generators of the real student stay as they are.
    """
    student = copy.deepcopy(distiller.student)
    student.train()  # a statement: mmdet's LD returns nothing from it
    with random_state.preserved():
        yield Distiller(student, distiller.teacher, distiller.pairs, distiller.labels)


def _indices(dataset: Any, count: int) -> list[int]:  # Any: a dataset of whatever library
    """The first frames, of every part where datasets are joined: parts may lack labels."""
    ends = list(getattr(dataset, "cumulative_sizes", None) or [len(dataset)])
    starts = [0, *ends[:-1]]
    return [
        starts[i % len(starts)] + (i // len(starts)) % (ends[i % len(ends)] - starts[i % len(ends)])
        for i in range(count)
    ]


def _shared_annotations(dataset: Any) -> dict[int, Any]:
    """A deepcopy memo under which serialized annotations (most of a dataset) are shared."""
    memo: dict[int, Any] = {}
    stack = [dataset]
    while stack:
        item = stack.pop()
        for value in vars(item).values():
            if isinstance(value, np.ndarray | torch.Tensor):
                memo[id(value)] = value
        stack.extend(
            child
            for child in [getattr(item, "dataset", None), *(getattr(item, "datasets", None) or [])]
            if child is not None
        )
    return memo
