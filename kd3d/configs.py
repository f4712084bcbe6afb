"""Reading configs for the commands, with errors that name the line to mend."""

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config.config import ConfigParsingError
from mmengine.hub import get_config

from kd3d.errors import UserError


def load_config(source: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Reads a config file, or ``mmdet::...`` from an installed package, and merges overrides.

    Args:
        source: path or ``package::path``.
        options: dotted keys to new values, as ``--cfg-options`` gives them.

    Raises:
        UserError: no such file (near names are offered), or it is not valid.
    """
    text = str(source)
    if "::" not in text and not Path(text).is_file():
        raise UserError(f"config {text}: no such file{_near(Path(text))}")
    try:
        config = get_config(text) if "::" in text else Config.fromfile(text)
        if options:
            config.merge_from_dict(dict(options))
    except FileNotFoundError as error:
        raise UserError(f"config {text}: {error}") from None
    except (ConfigParsingError, SyntaxError, NameError, KeyError, AttributeError) as error:
        raise UserError(f"config {text}: cannot be read: {_line(error)}") from None
    except ImportError as error:
        raise UserError(f"config {text}: an import it asks for fails: {_line(error)}") from None
    return config


@contextmanager
def building(source: str | Path) -> Iterator[None]:
    """Turns MMEngine's complaints about a config (unknown type, wrong argument) into UserErrors.

    Args:
        source: the config, named in the message.
    """
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        text = _line(error)
        from_registry = "registry" in text or text.startswith("class `")
        if not from_registry:
            raise
        raise UserError(f"config {source}: {text}") from None


def default_work_dir(config: Config, source: str | Path, given: str | None) -> str:
    """The work dir as mmdet decides it: the flag, the config's own, or its name's."""
    own = config.get("work_dir")
    return given or own or str(Path("work_dirs") / Path(str(source).rsplit("::")[-1]).stem)


def _line(error: BaseException) -> str:
    text = str(error.args[0]) if error.args else type(error).__name__
    return " ".join(text.split())[:400]


def _near(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" (there is no folder {folder})"
    near = difflib.get_close_matches(path.name, [p.name for p in folder.glob("*.py")], n=2)
    return f"; did you mean {' or '.join(str(folder / name) for name in near)}?" if near else ""
