"""What runs on the vehicle: JetPack 5.1 has Python 3.8, numpy and TensorRT, and no torch."""

import ast
import sys

import pytest
from module_imports import MODULES, imports_at_start

ON_VEHICLE = [
    "kd3d.files",
    "kd3d.profiling.environment",
    "kd3d.profiling.latency",
    "kd3d.profiling.on_vehicle",
    "kd3d.backends.serve",
    "kd3d.backends.ort",
    "kd3d.backends.engine",
    "kd3d.backends.open_bundle",
    "kd3d.backends.trt",
    "kd3d.export.voxelization",
]
OTHER_PACKAGES = {"kd3d", "numpy", "tensorrt"}
NEWER_THAN_PYTHON_3_8 = {"graphlib", "tomllib", "zoneinfo"}
BUILTIN_GENERICS = {"dict", "frozenset", "list", "set", "tuple", "type"}


def vehicle_modules() -> list[str]:
    """Those of ON_VEHICLE that exist, their packages, and what importing them imports of kd3d."""
    found: set[str] = set()
    waiting = [module for module in ON_VEHICLE if module in MODULES]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += imports_at_start(MODULES[module]) & MODULES.keys()
            waiting += [module.rpartition(".")[0]] * ("." in module)
    return sorted(found)


def evaluated_generics(tree: ast.Module) -> list[str]:
    """``list[int]`` and ``int | None`` where Python 3.8 evaluates them, and fails.

    ``from __future__ import annotations`` makes it leave annotations alone, and nothing else.
    """
    roots = [
        getattr(node, name, None) for node in ast.walk(tree) for name in ("annotation", "returns")
    ]
    annotations = [part for root in roots if root is not None for part in ast.walk(root)]
    as_strings = any("__future__" in ast.unparse(node) for node in tree.body)
    unions = [node for node in annotations if isinstance(node, ast.BinOp)]
    from_abc = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "collections.abc"
        for alias in node.names
    }
    subscripts = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id in BUILTIN_GENERICS | from_abc
    ]
    skipped = {id(node) for node in annotations} if as_strings else set()
    return [ast.unparse(node) for node in [*unions, *subscripts] if id(node) not in skipped]


def test_the_modules_of_the_vehicle_are_seen():
    assert set(vehicle_modules()) >= {"kd3d", "kd3d.files", "kd3d.profiling"}


@pytest.mark.parametrize("module", vehicle_modules())
def test_imports_are_on_the_vehicle(module):
    roots = {name.partition(".")[0] for name in imports_at_start(MODULES[module])}
    assert roots <= (sys.stdlib_module_names - NEWER_THAN_PYTHON_3_8) | OTHER_PACKAGES


@pytest.mark.parametrize("module", vehicle_modules())
def test_syntax_is_that_of_python_3_8(module):
    source = MODULES[module].read_text(encoding="utf-8")
    tree = ast.parse(source, filename=module, feature_version=(3, 8))
    assert evaluated_generics(tree) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(x: list[int]) -> None: ...", ["list[int]"]),
        ("def f() -> int | None: ...", ["int | None"]),
        ("from collections.abc import Iterator\nx: Iterator[int]", ["Iterator[int]"]),
        ("from __future__ import annotations\nx: list[int]", []),
        ("from __future__ import annotations\nNames = list[int]", ["list[int]"]),
        ("from typing import List\nx: List[int] = []\ny = x[0] | 1", []),
    ],
)
def test_generics_are_found_where_they_are_evaluated(source, expected):
    assert evaluated_generics(ast.parse(source)) == expected


def test_newer_syntax_is_refused():
    with pytest.raises(SyntaxError):
        ast.parse("match 1:\n    case 1: ...", feature_version=(3, 8))
