"""Writing the student that was found as a config of its own: its base, and what changes."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from kd3d.configs import distill_hooks, load_config
from kd3d.errors import UserError
from kd3d.files import write_text

_PLACES = ("model", "train_dataloader", "val_dataloader", "test_dataloader", "custom_hooks")


def with_matched_pairs(config: Config) -> Config:
    """Lets every pair choose its connector anew, where one was written for other channels.

    Args:
        config: of a student that is not the one its pairs were written for; changed in place.
    """
    for hook in distill_hooks(config):
        for pair in hook.get("pairs", []):
            connector = pair.get("connector")
            if isinstance(connector, Mapping) and "in_channels" in connector:
                pair.connector = "auto"
    return config


def changes_of(base: Config, changed: Config) -> dict[str, Any]:
    """Top-level entries by which ``changed`` differs, each cut down to what differs."""
    found = {}
    for name in _PLACES:
        old, new = base.get(name), changed.get(name)
        if new != old:
            found[name] = _difference(old, new)
    return found


def write_student(path: Path, source: str, changed: Config, *, comment: Sequence[str]) -> Path:
    """Writes ``_base_`` and what changes; the file is read back and compared.

    Args:
        path: of the new file.
        source: the config it starts from, a path or ``mmdet::...``.
        changed: what it must give.
        comment: lines above it.

    Raises:
        UserError: if the file, read back, does not give ``changed``.
    """
    base = source if "::" in source else _relative(source, path.parent)
    changes = changes_of(load_config(source), changed)
    lines = [f"# {line}".rstrip() for line in comment] + [f'_base_ = ["{base}"]']
    text = "\n".join(lines) + "\n" + (Config(changes).pretty_text if changes else "")
    write_text(path, text)
    written = load_config(path)
    for name in _PLACES:
        if written.get(name) != changed.get(name):
            raise UserError(
                f"{path}: {name} is not what was searched; {source} computes it in a way that a "
                "derived config cannot change, so write the student by hand from the comment"
            )
    return path


def _difference(old: Any, new: Any) -> Any:  # Any: nested config values
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    if set(old) - set(new):
        return {"_delete_": True, **new}
    return {
        key: _difference(old.get(key), value)
        for key, value in new.items()
        if key not in old or old[key] != value
    }


def _relative(source: str, folder: Path) -> str:
    return Path(os.path.relpath(Path(source).resolve(), folder.resolve())).as_posix()
