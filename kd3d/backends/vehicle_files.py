"""Which files of kd3d a vehicle needs: a module and all of kd3d that it imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import kd3d

_PACKAGE = Path(kd3d.__file__).parent


def vehicle_files(*modules: str) -> dict[str, Path]:
    """Relative path (``kd3d/files.py``) -> file, of modules and what they import of kd3d.

    Imports within functions count too: they are what a backend loads when it is asked for.
    """
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        path = _file_of(module)
        if path is None or _relative(path) in found:
            continue
        found[_relative(path)] = path
        waiting += _imports(path)
        waiting += [module.rpartition(".")[0]] * ("." in module)
    return found


def _imports(path: Path) -> Iterator[str]:
    """Names of kd3d's modules, and of members that may be modules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file_of(module: str) -> Path | None:
    """The module's file; None if it is not kd3d's, or no module."""
    root, *rest = module.split(".")
    if root != "kd3d":
        return None
    path = _PACKAGE.joinpath(*rest)
    files = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((file for file in files if file.is_file()), None)


def _relative(path: Path) -> str:
    return path.relative_to(_PACKAGE.parent).as_posix()
