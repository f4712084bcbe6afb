"""Checkpoints: read from anywhere, tensors and plain values only, never code; written whole.

A pickle can run code while it is read. Everything here loads with ``weights_only=True`` and
allow-lists exactly the globals that MMEngine's own checkpoints hold (its logged histories are
NumPy arrays), so that resuming works on torch 2.6 and later without turning the safety off.
"""

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, Runner
from torch import Tensor, nn

from kd3d.errors import UserError
from kd3d.signals import held_back

Checkpoint = dict[str, Any]  # Any: "state_dict", "meta", "message_hub", ... hold different things


def _history_statistic(owner: Any, name: str) -> Any:
    """Stands in for ``getattr``, by which a pickled HistoryBuffer names its own statistics."""
    if owner is not HistoryBuffer or name not in ("min", "max", "mean", "current"):
        raise pickle.UnpicklingError(f"GLOBAL getattr of {name!r} on {owner!r}")
    return getattr(HistoryBuffer, name)


def _mmengine_globals() -> list[Any]:
    """What ``Runner.save_checkpoint`` pickles besides tensors and builtins."""
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    functions: list[Any] = [(_history_statistic, "builtins.getattr")]
    functions += [
        (function, f"numpy.{core}.multiarray.{name}")  # NumPy 2 moved core to _core
        for function, name in ((reconstruct, "_reconstruct"), (scalar, "scalar"))
        for core in ("core", "_core")
    ]
    dtypes = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "u8", "u4", "u1", "?")]
    return [HistoryBuffer, np.ndarray, np.dtype, *functions, *dtypes]


torch.serialization.add_safe_globals(_mmengine_globals())


# What torch.load raises at a file that is cut off, or is something else
_UNREADABLE = (
    *(RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError),
    zipfile.BadZipFile,
)


def load_checkpoint(source: str | Path, map_location: Any = "cpu") -> Checkpoint:
    """Loads a checkpoint from a path or an http(s) URL without running code from it.

    Args:
        source: local path, or URL (kept in torch's hub cache once downloaded).
        map_location: as in :func:`torch.load`.

    Returns:
        The dict that was saved; a bare state dict is returned as ``{"state_dict": ...}``.

    Raises:
        UserError: the file is absent, cut off, holds code, or is no checkpoint at all.
    """
    path = local_checkpoint(source)
    try:
        loaded = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(_refusal(path, error)) from None
    except _UNREADABLE:
        raise UserError(_cut_off(path)) from None
    if not isinstance(loaded, dict):
        raise UserError(
            f"checkpoint {path}: expected a dict with 'state_dict', got {type(loaded).__name__}; "
            "save it with torch.save({'state_dict': model.state_dict()}, path)"
        )
    return loaded if "state_dict" in loaded else {"state_dict": loaded}


def local_checkpoint(source: str | Path) -> Path:
    """The file of a checkpoint, downloaded if ``source`` is a URL and it is not there yet.

    Raises:
        UserError: there is no such file, or it cannot be downloaded.
    """
    if str(source).startswith(("http://", "https://")):
        return _downloaded(str(source))
    path = Path(source).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        advice = _how_to_train(path) or "check the path in the config or command"
        raise UserError(f"checkpoint {path}: {what}; {advice}")
    return path


def load_weights(
    model: nn.Module, state: Mapping[str, Tensor], *, where: str, in_order: bool = False
) -> None:
    """Fills a model with a checkpoint's weights: all of them, and no others.

    The model's own modules read them, because some turn an older layout into theirs: kernels of
    spconv 1, layers that mmdet has renamed. They decide by the versions that a state dict carries.

    Args:
        model: that takes the weights.
        state: the checkpoint's, as it was read: a plain dict of it has lost the versions.
        where: named in errors.
        in_order: whether they must come in the model's order, too, because an optimizer that goes
            on knows its parameters by their numbers. MMEngine sorts the keys of a config that it
            writes, and with them the branches of a CenterHead, so a run of the written config
            counts in another order than one of the config it was written from.

    Raises:
        UserError: names how many differ, in which parts, with examples.
    """
    missing, extra, refused = _loaded(model, state)
    if not (missing or extra or refused):
        if in_order:
            _expect_order(model.state_dict(), state, where)
        return
    found = []
    if missing:
        found.append(f"missing: {_summary(missing)}")
    if extra:
        found.append(f"unexpected: {_summary(extra)}")
    if refused:
        others = f" and {len(refused) - 1} more shapes" if len(refused) > 1 else ""
        found.append(f"{_refused_shape(refused[0])}{others}")
    raise UserError(
        f"{where} does not fit {type(model).__name__} of its config: {'; '.join(found)}; "
        "give the checkpoint that belongs to this config"
    )


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict as the bare model saves it, where a DDP wrapper's was saved; with versions."""
    bare: Any = OrderedDict((key.removeprefix("module."), value) for key, value in state.items())
    versions = getattr(state, "_metadata", None)
    if versions is not None:  # by module: "module" is the model inside, "" the wrapper
        bare._metadata = OrderedDict(
            (f"{name}.".removeprefix("module.")[:-1], value) for name, value in versions.items()
        )
    named: dict[str, Tensor] = bare
    return named


def use_safe_loading() -> None:
    """Makes MMEngine itself (``--resume``, ``load_from``) load local files through this module.

    Uses MMEngine's own extension point; commands call it once before they build a Runner.
    """
    CheckpointLoader.register_scheme(prefixes="", loader=load_checkpoint, force=True)


def _loaded(
    model: nn.Module, state: Mapping[str, Tensor]
) -> tuple[list[str], list[str], list[str]]:
    """Missing keys, unexpected ones, and what torch says of those it could not copy."""
    module: Any = model  # Any: torch leaves the method untyped
    found: list[Any] = []  # Any: its pair of lists
    handle = module.register_load_state_dict_post_hook(lambda _, keys: found.append(keys))
    refused: list[str] = []
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # shapes differ, whatever strict is
        refused = str(error).split("\n\t")[1:] or [_first_line(error)]
    finally:
        handle.remove()
    missing, extra = found[-1] if found else ([], [])
    return missing, extra, refused


def _refused_shape(line: str) -> str:
    """Of torch's (or spconv's) line on a size mismatch what matters, in the model's layout."""
    key = re.search(r"size mismatch for (\S+):", line)
    sizes = re.findall(r"torch\.Size\(\[(.*?)\]\)", line)
    if key is None or len(sizes) != 2:
        return line
    got, expected = (tuple(map(int, re.findall(r"\d+", size))) for size in sizes)
    return f"shape: {key[1]} is {got}, expected {expected}"


def _expect_order(own: Iterable[str], given: Iterable[str], where: str) -> None:
    own, given = dict.fromkeys(own), dict.fromkeys(given)  # an older name is in one alone
    ours, theirs = [key for key in own if key in given], [key for key in given if key in own]
    for here, there in zip(ours, theirs, strict=True):
        if here != there:
            raise UserError(
                f"{where}: its optimizer counts {there} where this config has {here}: the same "
                "layers in another order; resume with the config that lies beside the checkpoint"
            )


def save_whole(runner: Runner) -> None:
    """Lets an interrupt wait where a training writes a checkpoint, in place.

    MMEngine deletes the checkpoint that is one too many before it writes the next, and writes that,
    and the note that names it, where they will lie: what ended it in between left nothing to go on
    from.
    """
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            for name in ("after_train_iter", "after_train_epoch", "after_val_epoch"):
                setattr(hook, name, held_back()(getattr(hook, name)))


def _how_to_train(path: Path) -> str:
    """The command that leaves a checkpoint where it is missing; empty if no recipe is known to."""
    recipe = Path("configs/recipes") / f"{path.parent.parent.name}.py"
    if path != Path("work_dirs") / recipe.stem / "teacher" / "final.pth":
        return ""
    if not recipe.is_file() or not re.search(r"\btrain_teacher\W+True\b", recipe.read_text()):
        return ""
    return f"train it: python tools/run_recipe.py {recipe} --only teacher"


def _downloaded(url: str) -> Path:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rsplit("/", 1)[-1]
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path))  # renames into place when whole
        except (OSError, ValueError, HTTPException) as error:  # these two: no address
            raise UserError(
                f"checkpoint {url}: cannot be downloaded ({_first_line(error)}); "
                "download it elsewhere and give its local path"
            ) from None
    return path


def _refusal(path: Path, error: Exception) -> str:
    text = str(error)
    if "Unsupported global" in text or "Unsupported class" in text or "GLOBAL" in text:
        name = text.split("GLOBAL ", 1)[-1].split(" ", 1)[0] if "GLOBAL " in text else "an object"
        return (
            f"checkpoint {path}: refused, it holds code besides tensors ({name}), which would run "
            "when it is read; ask its author for a file with the 'state_dict' only"
        )
    return _cut_off(path)


def _cut_off(path: Path) -> str:
    with path.open("rb") as stream:
        start = stream.read(200)
    if start.startswith(b"version https://git-lfs"):
        return f"checkpoint {path}: a pointer of Git LFS, not the file; get it with git lfs pull"
    if start.lstrip()[:1] == b"<":
        return f"checkpoint {path}: a web page; give the address of the file itself"
    return (
        f"checkpoint {path}: cut off or not a checkpoint ({path.stat().st_size} bytes); "
        "download or copy it again"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _summary(keys: list[str]) -> str:
    parts: dict[str, int] = {}
    for key in keys:
        parts[key.split(".", 1)[0]] = parts.get(key.split(".", 1)[0], 0) + 1
    counts = ", ".join(f"{count} in {part}" for part, count in parts.items())
    return f"{len(keys)} ({counts}), such as {keys[0]}"
