"""A pair as an experiment's config writes it: one dict."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

import kd3d.losses  # noqa: F401  (registers losses and masks)
from kd3d.distill.build_part import build_part
from kd3d.distill.pair import Pair
from kd3d.distill.pair_mask import PairMask
from kd3d.distill.recorder import Tap
from kd3d.distill.schedules import Schedule
from kd3d.errors import UserError
from kd3d.registry import LOSSES, MASKS

_REQUIRED = {"student", "teacher", "loss"}
_KEYS = _REQUIRED | {"name", "weight", "temperature", "connector", "mask"}


def pair_from_config(config: Mapping[str, Any]) -> Pair:
    """Builds a pair from its dict in a config; shapes come later.

    Args:
        config: ``name, student, teacher, loss`` and optionally ``weight`` (1.0), ``temperature``,
            ``connector`` ("auto"), ``mask``: ``dict(type=...)``, with ``teacher=<tap>`` where
            the mask reads the teacher's head.

    Raises:
        UserError: a key is missing or unknown, a value cannot be read, the weight is always 0, or
            the temperature is 0, or falls towards it, while it is not.
    """
    name = config.get("name")
    if not isinstance(name, str) or not name.isidentifier():
        raise UserError(f"a pair needs a name of letters, digits and _, got {name!r} in {config}")
    missing = _REQUIRED - set(config)
    unknown = set(config) - _KEYS - {"_scope_"}
    if missing or unknown:
        raise UserError(
            f"pair {name!r}: "
            + (f"missing {sorted(missing)} " if missing else "")
            + (f"unknown {sorted(unknown)} " if unknown else "")
            + f"(a pair has {sorted(_KEYS)})"
        )
    weight = Schedule.of(config.get("weight", 1.0), where=f"pair {name!r}: weight")
    if weight.largest == 0:
        raise UserError(
            f"pair {name!r}: its weight is 0 all the time, expected one above 0 at some time; "
            "raise it, or leave the pair out"
        )
    loss: nn.Module = build_part(LOSSES, config["loss"], where=f"pair {name!r}: loss")
    temperature = config.get("temperature")
    if temperature is not None:
        if "temperature" not in inspect.signature(loss.forward).parameters:
            raise UserError(
                f"pair {name!r}: {type(loss).__name__} has no temperature; remove it from the pair"
            )
        temperature = _temperature(temperature, weight, where=f"pair {name!r}: temperature")
    return Pair(
        name,
        Tap.parse(config["student"]),
        Tap.parse(config["teacher"]),
        loss=loss,
        weight=weight,
        temperature=temperature,
        mask=_mask(config.get("mask"), where=f"pair {name!r}: mask"),
    )


def _temperature(config: Any, weight: Schedule, *, where: str) -> Schedule:  # Any: a config's
    found = Schedule.of(config, where=where)
    is_zero = found.start == 0 or found.warmup or found.stop < weight.stop
    if is_zero or found.end == 0:
        fault = "is 0 at some time" if is_zero else "falls towards 0"
        raise UserError(
            f"{where}: {config!r} {fault}, expected one above 0 as long as the pair has a weight; "
            "set start and end above 0, leave warmup out, and stop no sooner than the weight does "
            f"({weight.stop:g})"
        )
    return found


def _mask(config: Any, *, where: str) -> PairMask | None:  # Any: checked by build_part
    if config is None:
        return None
    tap = None
    if isinstance(config, Mapping) and "teacher" in config:
        tap = Tap.parse(config["teacher"])
        config = {key: value for key, value in config.items() if key != "teacher"}
    return PairMask(build_part(MASKS, config, where=where), tap, where=where)
