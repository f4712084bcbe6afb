"""Connectors in the student's optimizer: a group of their own that follows every schedule."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from kd3d.distill.probe import frames_at_once
from kd3d.errors import UserError


def add_connector_group(runner: Any, parameters: Sequence[nn.Parameter]) -> None:
    """Adds parameters to the runner's optimizer as one more group.

    Schedulers exist by the time hooks run and have already scaled the learning rates, so the
    group is a copy of an existing one (the first at the config's base learning rate, with no
    multiplier), and every scheduler is told its base value.

    Args:
        runner: an MMEngine Runner whose optimizer and schedulers are built.
        parameters: of the connectors; nothing happens where there are none.

    Raises:
        UserError: the run has several optimizers.
    """
    if not parameters:
        return
    optimizer = getattr(runner.optim_wrapper, "optimizer", None)
    if optimizer is None:
        raise UserError(
            f"{type(runner.optim_wrapper).__name__} holds several optimizers; connectors need "
            "one: use pairs with equal shapes or connector=None"
        )
    index = _reference(optimizer, runner)
    group = {k: v for k, v in optimizer.param_groups[index].items() if k not in _OWN_KEYS}
    optimizer.add_param_group({**group, "params": list(parameters)})
    place = len(optimizer.param_groups) - 1
    for scheduler in _schedulers(runner.param_schedulers):
        for name in _BY_GROUP:
            if name in vars(scheduler):
                # no append: beside several groups MMEngine schedules one for its log, as the last
                values = getattr(scheduler, name)
                values.insert(place, values[index])


_OWN_KEYS = ("params", "param_names", "name")
_BY_GROUP = ("base_values", "_last_value", "min_values")  # lists that MMEngine's schedulers keep


def _reference(optimizer: Any, runner: Any) -> int:
    """Index of the group whose options the connectors share."""
    scale = 1.0
    auto = runner.auto_scale_lr
    if auto and auto.get("enable"):
        frames = runner.world_size * frames_at_once(runner.train_dataloader)
        scale = frames / auto["base_batch_size"]
    base_lr = optimizer.defaults["lr"] * scale
    decay = optimizer.defaults.get("weight_decay")
    groups = optimizer.param_groups
    at_base = [i for i, g in enumerate(groups) if math.isclose(_initial_lr(g), base_lr)]
    decayed = [i for i in at_base if groups[i].get("weight_decay") == decay]
    return (decayed or at_base or [0])[0]


def _initial_lr(group: dict[str, Any]) -> float:
    return float(group.get("initial_lr", group["lr"]))


def _schedulers(schedulers: Any) -> Iterator[Any]:
    if isinstance(schedulers, dict):
        schedulers = list(schedulers.values())
    if isinstance(schedulers, list | tuple):
        for item in schedulers:
            yield from _schedulers(item)
    elif schedulers is not None:
        yield schedulers
