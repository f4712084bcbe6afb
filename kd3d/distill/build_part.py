"""Building the parts of a pair from their dicts in a config."""

import sys
from collections.abc import Mapping
from typing import Any

from mmengine.registry import DefaultScope

from kd3d.configs import type_name
from kd3d.errors import UserError


def build_part(registry: Any, config: Any, *, where: str) -> Any:  # Any: registries are untyped
    """Builds from a registry; a wrong name or argument becomes a UserError that lists the names.

    Raises:
        UserError: no ``type``, an unknown one, or arguments it does not take.
    """
    names = sorted(registry.module_dict)
    if not isinstance(config, Mapping) or "type" not in config:
        raise UserError(f"{where}: expected dict(type=...) with one of {names}, got {config!r}")
    kind, name = config["type"], type_name(config)
    registered = registry.module_dict.get(name)
    # a name, a class, or the place of one, which MMEngine writes into a copy of a config
    known = kind in (name, registered, f"kd3d.{name}") or _at(kind) is registered
    if name not in names or not known:
        raise UserError(f"{where}: no type {kind!r}; there are {names}")
    settings = {key: value for key, value in config.items() if key != "_scope_"} | {"type": name}
    try:
        with DefaultScope.overwrite_default_scope("kd3d"):
            return registry.build(settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {config!r} cannot be built: {error}") from None


def _at(place: Any) -> Any:  # Any: a config's type, and whatever is there
    """What is at ``package.module.Class`` of a loaded module, where registered classes are."""
    module, _, name = place.rpartition(".") if isinstance(place, str) else ("", "", "")
    return getattr(sys.modules.get(module), name, None) if module else None
