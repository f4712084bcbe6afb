"""Building what a config describes, with errors that name the line to mend."""

import difflib
import json
import linecache
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.model import PretrainedInit
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIMIZERS, Registry, build_from_cfg
from mmengine.runner import set_random_seed
from mmengine.runner.checkpoint import get_torchvision_models

from kd3d.errors import UserError, message


@contextmanager
def building(source: str | Path) -> Iterator[None]:
    """Turns what fails while a registry builds from a config into UserErrors.

    That is an unknown type, a wrong argument, a value that a constructor refuses; at any time also
    a seed that NumPy refuses, a file that is not there, and pretrained weights of an ``init_cfg``
    that cannot be had. What else fails at another time keeps its traceback.

    Args:
        source: the config, named in the message.
    """
    try:
        yield
    except UserError as error:
        lacking = _without_weights(error)
        if lacking is None:
            raise
        raise UserError(f"config {source}: {lacking}") from None
    except (ImportError, OSError, RuntimeError) as error:
        lacking = _without_weights(error) or _without_file(error) or _without_package(error)
        if lacking is None:
            raise
        raise UserError(f"config {source}: {lacking}") from None
    except ZeroDivisionError as error:
        text = _without_class(error)
        if text is None:
            raise
        raise UserError(f"config {source}: {text}") from None
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        text = _without_weights(error) or _without_optimizer(error) or _without_seed(error)
        text = text or _not_built(error)
        if text is None:
            raise
        raise UserError(f"config {source}: {text}") from None


def _frames(error: BaseException) -> list[FrameType]:
    frames, step = [], error.__traceback__
    while step is not None:
        frames.append(step.tb_frame)
        step = step.tb_next
    return frames


def _builds(error: BaseException) -> list[dict[str, Any]]:
    """The variables of every ``build_from_cfg`` that an error went through, the innermost last."""
    return _locals_of(build_from_cfg, error)


def _locals_of(function: Any, error: BaseException) -> list[dict[str, Any]]:  # Any: untyped
    """The variables of every call of ``function`` that an error went through."""
    return [frame.f_locals for frame in _frames(error) if frame.f_code is function.__code__]


def _without_weights(error: Exception) -> str | None:
    """What a pretrained ``init_cfg`` lacks; None where the error comes from elsewhere."""
    calls = _locals_of(PretrainedInit.__call__, error)
    if not calls or not isinstance(
        error, UserError | ImportError | OSError | RuntimeError | KeyError
    ):
        return None
    wanted, module = calls[-1]["self"].checkpoint, calls[-1]["module"]
    starts = [f.f_locals["self"] for f in _frames(error) if f.f_code.co_name == "init_weights"]
    names = [name for name, found in (starts or [module])[0].named_modules() if found is module]
    place = ".".join(["model", *filter(None, names)])
    if _locals_of(get_torchvision_models, error):
        absent = isinstance(error, ModuleNotFoundError) and error.name == "torchvision"
        state = "is not installed" if absent else f"cannot be imported: {_line(error)}"
        lacking = (
            f"torchvision {state} (pip install the torchvision that belongs to torch "
            f"{torch.__version__})"
        )
    elif isinstance(error, UserError):  # of our own loading
        lacking = str(error)
    elif isinstance(error, KeyError):
        lacking = f"there is no model {error}; mend its name"
    else:
        lacking = f"it cannot be had ({_line(error)}); download it elsewhere and give its path"
    options = [f"{place}.init_cfg=None"]
    # neither would learn in what is not pretrained
    none_frozen = 0 if type(module).__name__ == "EfficientNet" else -1  # it refuses -1
    if getattr(module, "frozen_stages", none_frozen) > none_frozen:
        options.append(f"{place}.frozen_stages={none_frozen}")
    if getattr(module, "norm_eval", False):
        options.append(f"{place}.norm_eval=False")
    return (
        f"{place}.init_cfg wants {wanted}, and {lacking}, "
        f"or train from scratch: --cfg-options {' '.join(options)}"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _without_file(error: Exception) -> str | None:
    if not isinstance(error, FileNotFoundError):
        return None
    text = message(error) if error.filename is None else f"{error.filename}: no such file"
    builds = _builds(error)
    arguments = (builds[-1].get("args") or {}) if builds else {}
    keys = [
        key
        for key, value in arguments.items()
        if isinstance(value, str) and value and value in text
    ]
    change = " or ".join(keys) or "the path in the config"
    return f"{text.rstrip('.')}; make the data set or link it there, or change {change}"


def _without_package(error: Exception) -> str | None:
    """What classes of mmdet say of an optional package, by an ImportError or a RuntimeError."""
    absent = isinstance(error, ImportError) or "not installed" in str(error)
    return _not_built(error) if absent else None


def _without_class(error: ZeroDivisionError) -> str | None:
    """mmdet3d's CBGSDataset divides by the frames of each class."""
    for frame in _frames(error):
        frames_of, wrapper = frame.f_locals.get("class_sample_idxs"), frame.f_locals.get("self")
        if isinstance(frames_of, dict) and wrapper is not None:
            classes = wrapper.metainfo["classes"]
            absent = ", ".join(str(classes[k]) for k, frames in frames_of.items() if not frames)
            return (
                f"{type(wrapper).__name__} balances classes, and no frame has {absent}; take more "
                "frames, or the data set without it"
            )
    return None


def _without_optimizer(error: Exception) -> str | None:
    """MMEngine looks an optimizer up without asking whether it is there."""
    calls = _locals_of(DefaultOptimWrapperConstructor.__call__, error)
    if not calls or calls[-1].get("optimizer_cls", "") is not None:
        return None
    return _unknown(OPTIMIZERS, calls[-1]["optimizer_cfg"]["type"])


def _without_seed(error: Exception) -> str | None:
    calls = _locals_of(set_random_seed, error)
    return f"seed {calls[-1]['seed']!r}: {_line(error)} (--seed, randomness)" if calls else None


def _not_built(error: Exception) -> str | None:
    builds = _builds(error)
    return _complaint(error, builds[-1], innermost=_frames(error)[-1]) if builds else None


def _unknown(registry: Registry, wanted: str) -> str:
    known = _names(registry)
    near = difflib.get_close_matches(wanted.rpartition(".")[2], sorted(known), n=2)
    names = " or ".join(repr(known[name]) for name in near)
    hint = f"did you mean {names}?" if near else "check its spelling"
    return f"there is no {registry.name} type {wanted!r}; {hint}"


def _complaint(error: Exception, build: dict[str, Any], *, innermost: FrameType) -> str:
    """What is wrong, given the variables of the innermost ``build_from_cfg``."""
    wanted = build.get("obj_type")
    if build.get("obj_cls") is None and isinstance(wanted, str):
        return _unknown(build["registry"], wanted)
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


def _names(registry: Registry) -> dict[str, str]:
    """All types that a registry's family knows; of each, how a config that it builds names it."""
    own, root = dict(registry.module_dict), registry
    while root.parent is not None:
        root = root.parent
        own.update(root.module_dict)
    found, waiting = dict[str, str](), [root]
    while waiting:
        current = waiting.pop()
        found.update((name, f"{current.scope}.{name}") for name in current.module_dict)
        waiting.extend(current.children.values())
    return {**found, **{name: name for name in own}}
