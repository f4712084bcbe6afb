"""Compiled functions that are kept on disk, and never run when they are out of date.

Numba keeps a compiled function as long as its own file is unchanged, although it has compiled what
the function calls in other files into it. Here the kept functions lie in a folder named after the
content of the whole package, so that any change compiles anew.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

_SETTINGS = cast(Any, numba.config)  # Any: numba fills in its attributes when it starts
Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """``numba.njit`` with a cache that follows the content of this package."""
    before = _SETTINGS.CACHE_DIR
    _SETTINGS.CACHE_DIR = str(_folder(before))
    try:
        return cast(Function, numba.njit(cache=True)(function))
    finally:
        _SETTINGS.CACHE_DIR = before


@cache
def _folder(chosen: str) -> Path:
    """Below ``chosen``, or beside the package's other compiled files if that is empty."""
    package = Path(__file__).parent
    content = hashlib.md5(usedforsecurity=False)
    for path in sorted(package.glob("*.py")):
        content.update(path.read_bytes())
    parent = Path(chosen) if chosen else package / "__pycache__"
    return parent / f"kernels-{content.hexdigest()[:12]}"
