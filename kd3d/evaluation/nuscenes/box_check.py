"""One box of a results file, checked entry by entry as the devkit checks it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes.protocol import ATTRIBUTES, CLASSES

# Entries that are lists of numbers: how many, and whether NaN may be among them.
_VECTORS = {
    "translation": (3, False),
    "size": (3, False),
    "rotation": (4, False),
    "velocity": (2, True),
    "ego_translation": (3, False),
}
_OPTIONAL = ("ego_translation", "num_pts", "detection_score")


def check_box(box: Any, where: str) -> None:  # Any: parsed JSON
    """Refuses a malformed box.

    Sizes are not looked at: the devkit minds them only in boxes that are matched.

    Args:
        box: parsed JSON.
        where: for the message: file, sample, number.

    Raises:
        UserError: naming the entry, what it is and what was expected.
    """
    if not isinstance(box, dict):
        raise UserError(f"{where}: expected an object, got {box!r}")
    for name, rule in _RULES.items():
        if name not in box:
            if name in _OPTIONAL:
                continue
            raise UserError(f"{where}: {name!r} is missing; got {sorted(box)}")
        expected = rule(name, box[name])
        if expected is not None:
            raise UserError(f"{where}: {name} is {box[name]!r}; expected {expected}")


def _vector(name: str, value: Any) -> str | None:  # Any: parsed JSON
    length, nan = _VECTORS[name]
    expected = f"{length} numbers{'' if nan else ', none of them NaN'}"
    try:
        numbers = np.asarray(value)
    except ValueError:  # lists of different lengths
        return expected
    if numbers.shape != (length,) or numbers.dtype.kind not in "fiub":
        return expected
    return None if nan or not np.isnan(numbers).any() else expected


def _token(name: str, value: Any) -> str | None:  # Any: parsed JSON
    return None if type(value) is str else "a string"


def _class(name: str, value: Any) -> str | None:  # Any: parsed JSON
    return None if value in CLASSES else f"one of {list(CLASSES)}"


def _attribute(name: str, value: Any) -> str | None:  # Any: parsed JSON
    return None if value in ("", *ATTRIBUTES) else f"one of {list(ATTRIBUTES)}, or ''"


def _score(name: str, value: Any) -> str | None:  # Any: parsed JSON
    try:
        return "a number, not NaN" if np.isnan(float(value)) else None
    except (TypeError, ValueError, OverflowError):
        return "a number"


def _count(name: str, value: Any) -> str | None:  # Any: parsed JSON
    try:
        int(value)
    except (TypeError, ValueError, OverflowError):
        return "a whole number"
    return None


_RULES: dict[str, Callable[[str, Any], str | None]] = {
    "sample_token": _token,
    **dict.fromkeys(_VECTORS, _vector),
    "num_pts": _count,
    "detection_name": _class,
    "detection_score": _score,
    "attribute_name": _attribute,
}
