"""Building the parts of a pair from their dicts in a config."""

from collections.abc import Mapping
from typing import Any

from mmengine.registry import DefaultScope

from kd3d.errors import UserError


def build_part(registry: Any, config: Any, *, where: str) -> Any:  # Any: registries are untyped
    """Builds from a registry; a wrong name or argument becomes a UserError that lists the names.

    Raises:
        UserError: no ``type``, an unknown one, or arguments it does not take.
    """
    names = sorted(registry.module_dict)
    if not isinstance(config, Mapping) or "type" not in config:
        raise UserError(f"{where}: expected dict(type=...) with one of {names}, got {config!r}")
    settings = {key: value for key, value in config.items() if key != "_scope_"}
    if settings["type"] not in names:
        raise UserError(f"{where}: no type {settings['type']!r}; there are {names}")
    try:
        with DefaultScope.overwrite_default_scope("kd3d"):
            return registry.build(settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {config!r} cannot be built: {error}") from None
