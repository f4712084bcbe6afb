"""Whether an exported folder holds the model of a config that is to be judged by it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from kd3d.backends.bundle import Bundle
from kd3d.configs import class_names, load_config, type_name
from kd3d.errors import UserError
from kd3d.export.manifest import CONFIG_FILE

# What only a training reads of a model.
_OF_TRAINING = {"train_cfg", "init_cfg", "pretrained", "batch_augments"}
_OF_TRAINING |= {"frozen_stages", "norm_eval", "with_cp"}
_OF_LOSSES = {"type", "use_sigmoid"}  # the rest of a loss leaves the head as it is
_SHOWN = 3


def check_same_model(config: Config, folder: str | Path) -> None:
    """Compares a config's model, without what only a training reads, with that of an export.

    Args:
        config: under whose name the export is to be judged.
        folder: written by tools/export.py.

    Raises:
        UserError: if the models or the names of their classes differ; says in what.
    """
    manifest = Bundle.read(folder).manifest
    own = dict(_values(config.model, "model"))
    there = dict(_values(load_config(Path(folder) / CONFIG_FILE).model, "model"))
    differ = [key for key in {**own, **there} if own.get(key) != there.get(key)]
    advice = f"give its own config, {manifest['config']}, or export again from this one"
    if differ:
        shown = ", ".join(
            f"{key} is {there.get(key)!r} there and {own.get(key)!r} here"
            for key in differ[:_SHOWN]
        )
        more = f", and {len(differ) - _SHOWN} more" if len(differ) > _SHOWN else ""
        raise UserError(
            f"{folder} holds another model ({manifest['parameters']} parameters) than config "
            f"{config.filename}: {shown}{more}; {advice}"
        )
    names, exported = class_names(config, ["test_dataloader"]), list(manifest["classes"])
    numbered = all(name.isdigit() for name in exported)  # the export was told no names
    if names and not numbered and names != exported:
        raise UserError(
            f"{folder} detects {exported}, but test_dataloader of config {config.filename} has the "
            f"classes {names}; {advice}"
        )


def _values(node: Any, key: str) -> Iterator[tuple[str, Any]]:  # Any: config values
    """Each value of a model's config under its dotted key; empty dicts and lists have none."""
    name = key.rpartition(".")[2]
    if name in _OF_TRAINING:
        return
    if isinstance(node, Mapping):
        of_loss = name.startswith("loss_")
        for inner, value in node.items():
            if inner == "type":
                yield f"{key}.type", type_name(node)
            elif not of_loss or inner in _OF_LOSSES:
                yield from _values(value, f"{key}.{inner}")
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _values(value, f"{key}.{index}")
    elif node is not None:
        yield key, node
