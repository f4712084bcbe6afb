"""Reading a recipe: which distilled config is compared with its twins, and how."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from kd3d.configs import load_config
from kd3d.errors import UserError


@dataclass(frozen=True)
class Preparation:
    """A command that makes data, run before everything else.

    Attributes:
        run: the command in one line; a leading ``tools/...py`` is the project's own tool. It is
            split like a shell would, but no shell runs it.
        makes: a path that exists afterwards; the command is skipped where it exists. Without
            it the command is run every time and must itself know what is done.
    """

    run: str
    makes: str = ""


@dataclass(frozen=True)
class Control:
    """How the control twin is made.

    Attributes:
        terms: the task losses that are made stronger; None for all. Name those that the pairs
            strengthen where the optimizer divides the gradient by its own size (Adam): there,
            all of them at once change little.
        scale: how much; None takes ``gradient_scale`` as the distilled run of the same seed
            measured it: mean over the run of |g_task + g_distill| / |g_task|.
    """

    terms: tuple[str, ...] | None = None
    scale: float | None = None


@dataclass(frozen=True)
class Variant:
    """The distilled run with something left out or changed: a row of the ablation.

    It shares teacher, baseline and control with the distilled run.

    Attributes:
        name: in tables and folders.
        pairs: names of the pairs that stay, in all DistillHooks together; None for all.
        changes: dotted keys of the distilled config -> values, as ``--cfg-options`` takes them.
    """

    name: str
    pairs: tuple[str, ...] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)  # Any: config values


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to run and compare.

    Attributes:
        name: of the recipe or config file, without suffix.
        distilled: config with a DistillHook.
        seeds: every student is trained once with each.
        teacher: name of the DistillHook whose teacher the gap is measured to; needed only if
            there is more than one.
        train_teacher: whether the teacher's config is trained here; otherwise the hook names
            a checkpoint.
        control: how the control twin is made.
        equal_wall_clock: also train baseline and control for as long as the distilled run
            iterated: its median step times its iterations. What filled a teacher's cache is
            apart, ``cache_fill_seconds`` in the training's record.
        export: also export and time the teacher and the first distilled student.
        input_size: (H, W) in pixels, of the exported network; None leaves it to the config (its
            test pipeline's images, or its point cloud range).
        prepare: commands that make the data.
        variants: distilled runs beside the main one, for an ablation.
        continues: work dir of a recipe whose runs are gone on from, each student from the last
            weights of the run of its name, or else of its role and seed; "" to start anew.
    """

    name: str
    distilled: Config
    seeds: tuple[int, ...] = (0, 1, 2)
    teacher: str = ""
    train_teacher: bool = False
    control: Control = field(default_factory=Control)
    equal_wall_clock: bool = False
    export: bool = False
    input_size: tuple[int, int] | None = None
    prepare: tuple[Preparation, ...] = ()
    variants: tuple[Variant, ...] = ()
    continues: str = ""


def read_recipe(
    path: str | Path,
    *,
    cfg_options: Mapping[str, Any] | None = None,  # Any: config values
    changes: Mapping[str, Any] | None = None,
) -> Recipe:
    """Reads a recipe file, or a distilled config with the default recipe around it.

    Args:
        path: an MMEngine config with one variable ``recipe``, or a config with a DistillHook.
        cfg_options: changes of the distilled config, and so of its twins.
        changes: changes of the recipe itself, such as ``{"seeds": [0]}``.

    Raises:
        UserError: no such file, an unknown entry, or a value of the wrong kind.
    """
    path = Path(path)
    content = load_config(path)
    if "recipe" in content:
        entries = content.recipe.to_dict()
        if "distilled" not in entries:
            raise UserError(
                f"{path}: recipe lacks 'distilled', the path of a config with a DistillHook"
            )
        distilled = load_config(path.parent / entries.pop("distilled"), cfg_options)
    else:
        entries, distilled = {}, load_config(path, cfg_options)
    entries.update(changes or {})
    _refuse_unknown(entries, Recipe, where=f"{path}: recipe")
    values = {key: _PARSERS[key](value, path) for key, value in entries.items()}
    return Recipe(name=path.stem, distilled=distilled, **values)


def _refuse_unknown(entries: Mapping[str, Any], kind: type, *, where: str) -> None:
    known = [key for key in kind.__dataclass_fields__ if key not in ("name", "distilled")]  # type: ignore[attr-defined]
    for key in entries:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise UserError(f"{where} has no entry {key!r}; {hint}")


def _seeds(value: Sequence[int], path: Path) -> tuple[int, ...]:
    seeds = tuple(value) if isinstance(value, list | tuple) else ()
    fit = all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)  # NumPy takes no others
    if not seeds or len(set(seeds)) < len(seeds) or not fit:
        wanted = "different whole numbers from 0 to 2**32 - 1"
        raise UserError(f"{path}: recipe.seeds is {value!r}, expected {wanted}")
    return seeds


def _flag(value: bool, path: Path) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{path}: recipe expects True or False for a flag, got {value!r}")
    return value


def _input_size(value: Sequence[int], path: Path) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise UserError(f"{path}: recipe.input_size is {value!r}, expected (H, W) in pixels")
    return int(value[0]), int(value[1])


def _control(value: Mapping[str, Any], path: Path) -> Control:
    _refuse_unknown(value, Control, where=f"{path}: recipe.control")
    terms, scale = value.get("terms"), value.get("scale")
    if scale is not None and not (isinstance(scale, int | float) and scale > 0):
        raise UserError(f"{path}: recipe.control.scale is {scale!r}, expected a number above 0")
    return Control(None if terms is None else tuple(terms), scale)


def _prepare(value: Sequence[Mapping[str, str]], path: Path) -> tuple[Preparation, ...]:
    for item in value:
        if not isinstance(item, dict) or "run" not in item or set(item) - {"run", "makes"}:
            raise UserError(
                f"{path}: recipe.prepare holds {item!r}, expected "
                'dict(run="tools/datasets/... --out FOLDER", makes="FOLDER/file")'
            )
    return tuple(Preparation(**item) for item in value)


def _variants(value: Mapping[str, Mapping[str, Any]], path: Path) -> tuple[Variant, ...]:
    for name, entries in dict(value).items():
        if not re.fullmatch(r"[\w.+-]+", name):
            raise UserError(
                f"{path}: recipe.variants has the name {name!r}, which becomes a folder; use "
                "letters, digits, and . _ + -"
            )
        _refuse_unknown(entries, Variant, where=f"{path}: recipe.variants.{name}")
        if not entries.get("pairs", True):
            raise UserError(
                f"{path}: recipe.variants.{name} keeps no pair, which is the baseline; name some"
            )
    return tuple(
        Variant(
            name,
            None if entries.get("pairs") is None else tuple(entries["pairs"]),
            entries.get("changes", {}),
        )
        for name, entries in value.items()
    )


def _text(value: str, path: Path) -> str:
    return str(value)


_PARSERS: dict[str, Callable[[Any, Path], Any]] = {  # Any: one kind of value for each key
    "seeds": _seeds,
    "teacher": _text,
    "train_teacher": _flag,
    "control": _control,
    "equal_wall_clock": _flag,
    "export": _flag,
    "input_size": _input_size,
    "prepare": _prepare,
    "variants": _variants,
    "continues": _text,
}
