"""A longer schedule: a twin that trains for as long as the distilled student's iterations took.

Compared are median steps, each without what it spent on filling a teacher's cache.
"""

import copy
import math
from typing import Any

from mmengine.config import Config

from kd3d.configs import type_name
from kd3d.errors import UserError

_SCHEDULER_STEPS = ("begin", "end", "T_max", "milestones", "step_size", "total_steps", "periods")
_HOOK_EPOCHS = ("num_last_epochs", "switch_epoch")  # YOLOXModeSwitchHook, PipelineSwitchHook
_NO_LENGTH = ("Exponential", "ReduceOnPlateau")  # shaped by what is not a step
_ENDLESS = 10**9  # MMEngine's INF: a scheduler without an end


def stretched(config: Config, ratio: float) -> Config:
    """The same training over more (or fewer) steps, the schedule keeping its shape.

    Everything counted in epochs or iterations follows: the loop, its validation interval, the
    schedulers, and the epochs at which hooks switch the pipeline. Lengths are rounded up, so a
    twin never trains for less than its share.

    Args:
        config: of a student.
        ratio: seconds per iteration of the distilled student over those of the baseline.

    Returns:
        A new config.

    Raises:
        UserError: the loop has no length, or a scheduler cannot be stretched.
    """
    config = copy.deepcopy(config)
    loop = config.get("train_cfg") or {}
    unit = next((key for key in ("max_epochs", "max_iters") if key in loop), None)
    if unit is None:
        raise UserError(
            f"{config.filename}: train_cfg has neither max_epochs nor max_iters, so it cannot be "
            "made as long as the distilled run; set one, or leave equal wall clock out"
        )
    length = math.ceil(loop[unit] * ratio - 1e-6)  # the difference forgives float noise above it
    # The length is whole, so the schedule is stretched by what the length became.
    ratio = length / loop[unit]
    loop[unit] = length
    _stretch(loop, ("val_interval", "val_begin"), ratio)
    if "dynamic_intervals" in loop:
        loop["dynamic_intervals"] = [
            tuple(_times(step, ratio) for step in pair) for pair in loop["dynamic_intervals"]
        ]
    schedulers = config.get("param_scheduler") or []
    for scheduler in schedulers if isinstance(schedulers, list | tuple) else [schedulers]:
        _refuse_without_length(scheduler, config)
        _stretch(scheduler, _SCHEDULER_STEPS, ratio)
    for hook in config.get("custom_hooks") or []:
        _stretch(hook, _HOOK_EPOCHS, ratio)
    return config


def _refuse_without_length(scheduler: dict[str, Any], config: Config) -> None:
    kind = type_name(scheduler)
    if kind.startswith(_NO_LENGTH):
        raise UserError(
            f"{config.filename}: {kind} has no length that could be stretched to equal wall "
            "clock; use another scheduler, or leave equal wall clock out"
        )


def _stretch(settings: dict[str, Any], keys: tuple[str, ...], ratio: float) -> None:
    """Multiplies the named numbers and lists of numbers in place."""
    for key in keys:
        value = settings.get(key)
        if isinstance(value, list | tuple):
            settings[key] = [_times(step, ratio) for step in value]
        elif value is not None:
            settings[key] = _times(value, ratio)


def _times(steps: int, ratio: float) -> int:
    if steps <= 0 or steps >= _ENDLESS:
        return steps
    return max(1, round(steps * ratio))
