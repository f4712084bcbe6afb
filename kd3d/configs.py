"""Reading configs for the commands, with errors that name the line to mend."""

import argparse
import difflib
import inspect
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.hooks import Hook
from mmengine.hub import get_config
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TASK_UTILS,
    TRANSFORMS,
    VISUALIZERS,
)
from mmengine.runner import Runner

from kd3d.errors import UserError, message

# The entries of a config that take effect; all other names in it are variables of the file.
_ENTRIES = {*inspect.signature(Runner.__init__).parameters} - {"self"}
_ENTRIES |= {"auto_scale_lr", "compile", "custom_imports"}
_REGISTRIES = (
    *(OPTIM_WRAPPERS, OPTIMIZERS, PARAM_SCHEDULERS, HOOKS, LOOPS, METRICS, VISUALIZERS),
    *(MODELS, TASK_UTILS, DATASETS, DATA_SAMPLERS, TRANSFORMS),
)
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


class Options(DictAction):
    """``--cfg-options key=value ...``: MMEngine's action, with errors of argparse's kind.

    A value that is no list keeps its spaces, which MMEngine would take out of a path.
    """

    @staticmethod
    def _parse_iterable(val: str) -> Any:  # Any: config values
        if not {*val} & {*",([)]"}:
            return DictAction._parse_int_float_bool(val.strip("'\" "))
        return DictAction._parse_iterable(val)

    def __call__(self, *given: Any, **named: Any) -> None:  # Any: as argparse calls it
        """Reads the pairs."""
        try:
            super().__call__(*given, **named)
        except (ValueError, AssertionError) as error:
            raise argparse.ArgumentError(
                self, f"expected key=value with balanced brackets ({error})"
            ) from None


def load_config(source: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Reads a config file, or ``mmdet::...`` from an installed package, and merges overrides.

    Args:
        source: path or ``package::path``.
        options: dotted keys to new values, as ``--cfg-options`` gives them.

    Raises:
        UserError: no such file (near names are offered), it is a folder, it is not valid, or an
            override's key is misspelt or has no effect on any config.
    """
    text = str(source)
    if "::" not in text and not Path(text).is_file():
        raise UserError(f"config {text}: {_not_a_file(Path(text))}")
    try:
        config = get_config(text) if "::" in text else Config.fromfile(text)
    except FileNotFoundError as error:
        raise UserError(f"config {text}: {message(error)}") from None
    except ImportError as error:
        raise UserError(f"config {text}: an import it asks for fails: {_line(error)}") from None
    except Exception as error:  # a config is a program of the user's
        kind = type(error).__name__
        raise UserError(f"config {text}: cannot be read: {kind}: {_line(error)}") from None
    # MMEngine writes a run's config half a dozen times, and making it pretty takes seconds at each;
    # its argument against that, format_python_code, is lost in Config.fromfile (MMEngine 0.10.7)
    vars(config)["_format_python_code"] = False
    merge_options(config, options or {}, source)
    return config


def merge_options(
    config: Config,
    options: Mapping[str, Any],  # Any: config values
    source: str | Path,
    *,
    where: str = "--cfg-options",
) -> None:
    """Merges overrides into a config, in place.

    Args:
        config: changed.
        options: dotted keys to new values; a number selects an entry of a list.
        source: of the config, for messages.
        where: the options were given, for messages.

    Raises:
        UserError: a key is misspelt or has no effect on any config.
    """
    for key in options:
        _check_option(config, key, options, where)
    try:
        config.merge_from_dict(dict(options))
    except (KeyError, TypeError) as error:
        raise UserError(f"{where} does not fit config {source}: {_line(error)}") from None


def require_entries(config: Config, names: Iterable[str], source: str | Path) -> None:
    """Raises a UserError if a config lacks what a command cannot do without.

    An empty dict stands for MMEngine's own choice, as ``test_cfg = dict()`` in mmdet3d's configs.
    """
    absent = [name for name in names if config.get(name) is None]
    if absent:
        raise UserError(
            f"config {source}: it has no {', '.join(absent)}; add them, or take them from a base "
            "config by _base_ = [...]"
        )


def type_name(settings: Any) -> str:  # Any: config values
    """The class that a config's dict names, without its scope; empty for anything else."""
    kind = settings.get("type") if isinstance(settings, Mapping) else None
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return name.split(".")[-1]


def custom_hooks(config: Config, *, without: str = "") -> list[Any]:  # Any: config values
    """A config's ``custom_hooks``: dicts, or hooks that were built.

    Args:
        config: any.
        without: class whose dicts are left out.

    Raises:
        UserError: it is no list of those.
    """
    given = config.get("custom_hooks") or []
    listed = isinstance(given, list | tuple)
    wrong = [hook for hook in given if not isinstance(hook, Mapping | Hook)] if listed else [given]
    if wrong:
        raise UserError(
            f"config {config.filename}: custom_hooks is a list of dicts, [dict(type=...), ...]; "
            f"got {wrong[0]!r}{' in it' if listed else ''}"
        )
    return [hook for hook in given if not without or type_name(hook) != without]


def distill_hooks(config: Config) -> list[Any]:  # Any: config values
    """The dicts of a config's DistillHooks, in their order."""
    return [hook for hook in custom_hooks(config) if type_name(hook) == "DistillHook"]


def size_pair(size: Any, *, where: str) -> tuple[int, int]:  # Any: config values
    """(W, H) px of a config's ``scale`` or ``size``, where one number stands for both.

    Args:
        size: the config's value.
        where: named in the error, such as "config a.py: Pad(size=...)".

    Raises:
        UserError: it is no number and no two of them, or one is not finite.
    """
    width, height = _two_numbers(size, where)
    if not (math.isfinite(width) and math.isfinite(height)):
        raise UserError(
            f"{where}: got {size!r}, which leaves the size to each image; expected a finite "
            "number or (W, H) px, give one"
        )
    return int(width), int(height)


def size_text(size: Any, *, where: str) -> str:  # Any: config values
    """As ``size_pair``, for people: "320x192", or "1333xinf" where one side is not bounded."""
    numbers = _two_numbers(size, where)
    return "x".join(str(int(side) if math.isfinite(side) else side) for side in numbers)


def has_unlabelled(dataset: Any) -> bool:  # Any: config values
    """Whether a data set's dict has ``Unlabelled`` frames, however it is wrapped or joined."""
    if not isinstance(dataset, Mapping):
        return False
    return type_name(dataset) == "Unlabelled" or any(map(has_unlabelled, _inside(dataset)))


def class_names(config: Config, loaders: Iterable[str] = _LOADERS) -> list[str]:
    """The class names that a config's ``metainfo`` gives its data, in the order of labels.

    Args:
        config: of a detector.
        loaders: names of its entries; the first that tells classes counts.

    Returns:
        Empty where they are left to the data set's class, or to a file.
    """
    found = (_classes((config.get(loader) or {}).get("dataset")) for loader in loaders)
    return next(filter(None, found), [])


def default_work_dir(config: Config, source: str | Path, given: str | None) -> str:
    """The work dir as mmdet decides it: the flag, the config's own, or its name's."""
    own = config.get("work_dir")
    return given or own or str(Path("work_dirs") / Path(str(source).rsplit("::")[-1]).stem)


def _two_numbers(size: Any, where: str) -> tuple[float, float]:
    pair = (size, size) if isinstance(size, Real) else size
    listed = isinstance(pair, list | tuple) and len(pair) >= 2
    if not listed or not all(isinstance(side, Real) for side in pair[:2]):
        raise UserError(
            f"{where}: got {size!r}, expected one number or (W, H), two numbers of px; set it so"
        )
    return float(pair[0]), float(pair[1])


def _inside(dataset: Mapping[str, Any]) -> list[Any]:
    """What a data set's dict wraps or joins."""
    return [dataset.get("dataset"), *(dataset.get("datasets") or [])]


def _classes(dataset: Any) -> list[str]:
    if not isinstance(dataset, Mapping):
        return []
    given = (dataset.get("metainfo") or {}).get("classes")
    if isinstance(given, list | tuple):
        return [str(name) for name in given]
    return next(filter(None, map(_classes, _inside(dataset))), [])


def _check_option(config: Config, key: str, options: Mapping[str, Any], where: str) -> None:
    """Refuses keys that nothing would read, or that miss an existing one by a letter or two."""
    parts = key.split(".")
    if parts[0] not in _ENTRIES:
        if parts[0] not in config:
            known = {*_ENTRIES, *config}
            raise UserError(f"{where} {key}: no {parts[0]!r}{_near(parts[0], known, 0.6)}")
        warnings.warn(
            f"{where} {key}: {parts[0]!r} is a variable of the config file; entries made "
            "from it keep their values, set them instead",
            stacklevel=4,
        )
    node: Any = config  # Any: nested config values
    for depth, part in enumerate(parts):
        if isinstance(node, dict | Config) and part not in node:
            near = _near(part, node.keys(), 0.85) if parts[0] in config else ""
            place = ".".join(parts[:depth])
            kinds = [options.get(f"{place}.type") or node.get("type")]
            kinds += ["AmpOptimWrapper"] * (place == "optim_wrapper")  # as --amp makes it
            if near and not any(_accepts(kind, part, config) for kind in kinds):
                raise UserError(f"{where} {key}: no {part!r} there{near}")
            return  # a new entry, such as optim_wrapper.clip_grad.max_norm
        if isinstance(node, list | tuple):
            if not part.isdigit() or int(part) >= len(node):
                raise UserError(
                    f"{where} {key}: {part!r} is in a list of {len(node)}; write the number "
                    f"of an entry, from 0"
                )
            node = node[int(part)]
        elif isinstance(node, dict | Config):
            node = node[part]
        else:
            return


def _accepts(kind: Any, argument: str, config: Config) -> bool:  # Any: a config's type
    """Whether a class takes an argument of this name.

    Args:
        kind: a class, or its name in one of the registries of a config's parts.
        argument: its name.
        config: whose ``default_scope`` the name belongs to.
    """
    classes = _classes_named(kind, config.get("default_scope")) if isinstance(kind, str) else [kind]
    return any(inspect.isclass(each) and argument in _arguments(each) for each in classes)


def _arguments(kind: type) -> Iterator[str]:
    """Names of a class's arguments, and of those that it passes on to what it is derived from."""
    for base in kind.__mro__:
        parameters = inspect.signature(base.__init__).parameters  # type: ignore[misc]
        yield from parameters
        if not any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            return


def _classes_named(name: str, scope: str | None) -> Iterator[Any]:  # Any: whatever is registered
    for registry in _REGISTRIES:
        with suppress(ImportError, RuntimeError):  # of a library that is not here, no class
            with registry.switch_scope_and_registry(scope) as own:
                found = own.get(name)
            yield found


def _line(error: BaseException) -> str:
    text = str(error.args[0]) if error.args else type(error).__name__
    return " ".join(text.split())[:400]


def _near(name: str, known: Iterable[str], cutoff: float) -> str:
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=cutoff)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _not_a_file(path: Path) -> str:
    if not path.is_dir():
        return f"no such file{_near_files(path)}"
    found = sorted([*path.glob("*.py"), *path.glob("*/*.py")])
    configs = [str(file) for file in found if not file.relative_to(path).as_posix().startswith("_")]
    example = f", such as {configs[0]}" if configs else ""
    return f"is a folder; give a config file{example}"


def _near_files(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" (there is no folder {folder})"
    near = difflib.get_close_matches(path.name, [p.name for p in folder.glob("*.py")], n=2)
    return f"; did you mean {' or '.join(str(folder / name) for name in near)}?" if near else ""
