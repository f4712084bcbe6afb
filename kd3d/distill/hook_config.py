"""What a DistillHook's dict in a config may hold, checked before anything is built."""

from collections.abc import Mapping
from typing import Any

from kd3d.errors import UserError


def hook_label(name: Any) -> str:  # Any: what a config gives, here and below
    """How errors call a DistillHook.

    Raises:
        UserError: the name is no text.
    """
    if not isinstance(name, str) or not name:
        raise UserError(f"DistillHook: name is {name!r}, expected a text such as 'distill'")
    return f"DistillHook {name!r}"


def checked_teacher(teacher: Any, where: str) -> dict[str, Any]:
    """A copy of ``teacher``.

    Raises:
        UserError: it is no dict, a key is missing, or one is unknown.
    """
    known = {"config", "checkpoint", "num_classes", "cache", "_scope_"}
    given = teacher if isinstance(teacher, Mapping) else {}
    if set(given) - known or "config" not in given or not given.get("checkpoint"):
        raise UserError(
            f"{where}: teacher needs config and checkpoint (a path, a URL or 'random') and may "
            f"have num_classes and cache; got {sorted(given) if given else repr(teacher)}"
        )
    return dict(given)


def checked_pairs(pairs: Any, where: str) -> list[Mapping[str, Any]]:
    """A copy of ``pairs``; what each dict holds is checked when it is built.

    Raises:
        UserError: it is no list of dicts.
    """
    listed = isinstance(pairs, list | tuple)
    wrong = [pair for pair in pairs if not isinstance(pair, Mapping)] if listed else [pairs]
    if wrong:
        raise UserError(
            f"{where}: pairs is a list of dicts, [dict(name=..., student=..., teacher=..., "
            f"loss=dict(type=...)), ...]; got {type(pairs).__name__ + ' ' if not listed else ''}"
            f"{wrong[0]!r}{' in it' if listed else ''}"
        )
    return list(pairs)


def checked_gradient_points(points: Any, where: str) -> int:
    """``gradient_points`` itself.

    Raises:
        UserError: it is no number of times.
    """
    if not isinstance(points, int) or isinstance(points, bool) or points < 0:
        raise UserError(
            f"{where}: gradient_points is {points!r}, expected a whole number: how often gradients "
            "are compared in a run, 0 for never"
        )
    return points
