"""Building the parts of a pair from their dicts in a config."""

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
    # a name, our class, or the place of our class, which MMEngine writes into a copy of a config
    ours = kind in (name, registry.module_dict.get(name)) or str(kind).startswith("kd3d.")
    if name not in names or not ours:
        raise UserError(f"{where}: no type {kind!r}; there are {names}")
    settings = {key: value for key, value in config.items() if key != "_scope_"} | {"type": name}
    try:
        with DefaultScope.overwrite_default_scope("kd3d"):
            return registry.build(settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {config!r} cannot be built: {error}") from None
