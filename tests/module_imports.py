"""Reads from the sources of kd3d what each module imports, without importing any."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def module_name(path: Path) -> str:
    """``kd3d/losses/feature.py`` -> ``kd3d.losses.feature``; a package is named by its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / "kd3d").rglob("*.py"))}
TOOLS = sorted((ROOT / "tools").rglob("*.py"))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def imports_of(path: Path) -> set[str]:
    """All that the file imports, within functions too."""
    return _imported(ast.walk(parse(path)), path)


def imports_at_start(path: Path) -> set[str]:
    """What importing the file imports: not what its functions import when they are called."""
    return _imported(_executed(parse(path)), path)


def _imported(nodes: Iterable[ast.AST], path: Path) -> set[str]:
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the whole name"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = members & MODULES.keys()  # from kd3d.distill import hook
            names |= modules if modules == members else modules | {str(node.module)}
    return names


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _executed(child)
