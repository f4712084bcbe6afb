"""Building what a config describes, with errors that name the line to mend."""

import difflib
import json
import linecache
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from mmengine.registry import Registry, build_from_cfg

from kd3d.errors import UserError


@contextmanager
def building(source: str | Path) -> Iterator[None]:
    """Turns what fails while a registry builds from a config into UserErrors.

    That is an unknown type, a wrong argument, a value that a constructor refuses, a data set that
    is not there. What fails at any other time keeps its traceback.

    Args:
        source: the config, named in the message.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        builds = _builds(error)
        if not builds or "ann_file" not in (builds[-1].get("args") or {}):
            raise
        raise UserError(
            f"config {source}: {error.filename}: no such file; make the data set or link it there, "
            "or change data_root or ann_file"
        ) from None
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        builds = _builds(error)
        if not builds:
            raise
        text = _complaint(error, builds[-1], innermost=_frames(error)[-1])
        raise UserError(f"config {source}: {text}") from None


def _frames(error: BaseException) -> list[FrameType]:
    frames, step = [], error.__traceback__
    while step is not None:
        frames.append(step.tb_frame)
        step = step.tb_next
    return frames


def _builds(error: BaseException) -> list[dict[str, Any]]:
    """The variables of every ``build_from_cfg`` that an error went through, the innermost last."""
    frames = _frames(error)
    return [frame.f_locals for frame in frames if frame.f_code is build_from_cfg.__code__]


def _complaint(error: Exception, build: dict[str, Any], *, innermost: FrameType) -> str:
    """What is wrong, given the variables of the innermost ``build_from_cfg``."""
    wanted = build.get("obj_type")
    if build.get("obj_cls") is None and isinstance(wanted, str):
        registry: Registry = build["registry"]
        near = difflib.get_close_matches(wanted.rpartition(".")[2], _names(registry), n=2)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "check its spelling"
        return f"there is no {registry.name} type {wanted!r}; {hint}"
    name = getattr(build.get("obj_cls"), "__name__", str(wanted))
    file = (build.get("args") or {}).get("ann_file")
    if isinstance(error, json.JSONDecodeError):
        return f"{name}: {file} is cut off or no JSON ({error.msg}); write it again"
    if file and "at least one array" in str(error):  # MMEngine packs the annotations of all images
        return (
            f"{name}: no image of {file} is left; compare metainfo.classes with the categories "
            "in the file, and look at filter_cfg"
        )
    path, line = innermost.f_code.co_filename, innermost.f_lineno
    text = str(error) or linecache.getline(path, line)  # mmdet asserts without a message
    place = f"{Path(path).name}:{line}"
    return f"{name} cannot be built: {' '.join(text.split())[:400]} ({place})"


def _names(registry: Registry) -> list[str]:
    """Of all types that a registry's family knows."""
    while registry.parent is not None:
        registry = registry.parent
    found, waiting = set[str](), [registry]
    while waiting:
        current = waiting.pop()
        found.update(current.module_dict)
        waiting.extend(current.children.values())
    return sorted(found)
