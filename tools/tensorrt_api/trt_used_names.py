"""Finds in kd3d's sources every name of TensorRT that they use, and how it is called.

Read from the syntax tree, so that no list has to be kept. The type of an expression follows from
annotations (``network: trt.INetworkDefinition``), from constructors (``trt.Builder(...)``) and from
the results that the bindings' own signatures name. A name behind ``hasattr(x, "name")`` may be
missing in some version. A module with ``TENSORRT_VERSIONS = (8,)`` runs in those versions only.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Surface = dict[str, Any]  # Any: JSON of trt_surface.py

# What properties hold: the bindings' docstrings do not tell.
PROPERTIES = {
    ("ILayer", "type"): "LayerType",
    ("ITensor", "dtype"): "DataType",
    ("ITensor", "shape"): "Dims",
}


@dataclass(frozen=True)
class Use:
    """One use of a name.

    Attributes:
        owner: class, as "Builder" or "ILogger.Severity"; "" for the module itself.
        name: of the member.
        where: file and line.
        call: number of positional arguments and names of the others; None if it is not called.
        assigned: whether it is set.
        optional: whether the code asks for it with hasattr.
        versions: major versions that run this code; empty for all.
    """

    owner: str
    name: str
    where: str
    call: tuple[int, tuple[str, ...]] | None = None
    assigned: bool = False
    optional: bool = False
    versions: tuple[int, ...] = ()


def sources_with_tensorrt(package: Path) -> list[Path]:
    """Files of a package that import tensorrt, within functions or for annotations too."""
    return [path for path in sorted(package.rglob("*.py")) if _imports(path)]


def used_names(paths: list[Path], surface: Surface) -> tuple[list[Use], list[str]]:
    """All uses in these files, and what could not be understood.

    Args:
        paths: sources.
        surface: of any version that has the methods; only results of calls are read from it.
    """
    uses: list[Use] = []
    problems: list[str] = []
    trees = {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in paths}
    functions = _function_results(trees.values())
    for path, tree in trees.items():
        reader = _Reader(path, surface, _versions_of(tree), functions)
        reader.read(tree)
        uses += reader.uses
        problems += reader.problems
    return uses, problems


def classes_of(surface: Surface) -> dict[str, Surface]:
    """Every class by its full name, nested ones as "ILogger.Severity"."""
    found = {}
    waiting = list(surface["classes"].items())
    while waiting:
        name, content = waiting.pop()
        found[name] = content
        waiting += [(f"{name}.{inner}", value) for inner, value in content["classes"].items()]
    return found


def result_of(signatures: list[str], classes: dict[str, Surface]) -> str | None:
    """The class that a call returns, from "f(...) -> nvinfer1::IEngineInspector"."""
    for signature in signatures:
        result = signature.rpartition(" -> ")[2].rpartition("::")[2]
        for name in (result, result[1:]):  # C++'s IEngineInspector is EngineInspector in Python
            if name in classes:
                return name
    return None


def _imports(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    return any(alias.name == "tensorrt" for node in imports for alias in node.names)


def _versions_of(tree: ast.Module) -> tuple[int, ...]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TENSORRT_VERSIONS":
            return tuple(ast.literal_eval(node.value))
    return ()


def _function_results(trees: Any) -> dict[str, str]:
    """Type by name of each function that is annotated to return something of TensorRT."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    found = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.returns]
    typed = {node.name: _annotated(node.returns) for node in found}
    return {name: kind for name, kind in typed.items() if kind}


def _annotated(annotation: ast.expr | None) -> str | None:
    """``trt.X`` -> "X", ``list[trt.X]`` -> "list of X"."""
    text = "" if annotation is None else ast.unparse(annotation).strip("'\"")
    if text.startswith("list[trt."):
        return f"list of {text[9:-1]}"
    return text[4:] if text.startswith("trt.") else None


class _Reader(ast.NodeVisitor):
    """Walks one file, with the types of its variables."""

    def __init__(
        self, path: Path, surface: Surface, versions: tuple[int, ...], functions: dict[str, str]
    ) -> None:
        self.path, self.versions, self.functions = path, versions, functions
        self.classes = classes_of(surface)
        self.with_underscore = {
            name for kind in self.classes.values() for name in kind["members"] if "_" in name[1:]
        } - {"__init__"}
        self.types: dict[str, str] = {}
        self.guarded: set[str] = set()
        self.uses: list[Use] = []
        self.problems: list[str] = []

    def read(self, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute):
                self._learn(ast.unparse(node.target), _annotated(node.annotation))
        self.visit(tree)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """What overrides a method of TensorRT's must be one of its methods."""
        for base in node.bases:
            kind = self._type(base)
            for method in node.body if kind else []:
                if isinstance(method, ast.FunctionDef) and method.name != "__init__":
                    names = tuple(argument.arg for argument in method.args.args[1:])
                    self.uses.append(
                        Use(
                            str(kind)[6:],
                            method.name,
                            self._where(method),
                            (0, names),
                            versions=self.versions,
                        )
                    )
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outside, guards = dict(self.types), set(self.guarded)
        for argument in [*node.args.args, *node.args.kwonlyargs]:
            self.types.pop(argument.arg, None)
            self._learn(argument.arg, _annotated(argument.annotation))
        for part in ast.walk(node):
            if isinstance(part, ast.Call) and ast.unparse(part.func) == "hasattr":
                self.guarded.add(f"{ast.unparse(part.args[0])}.{ast.literal_eval(part.args[1])}")
        for statement in node.body:
            self.visit(statement)
        self.types, self.guarded = outside, guards

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            if isinstance(target, ast.Attribute):
                self._use(target, assigned=True)
                self.visit(target.value)
            self._learn(ast.unparse(target), self._type(node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._learn(ast.unparse(node.target), _annotated(node.annotation))
        if node.value is not None:
            self.visit(node.value)

    def visit_For(self, node: ast.For) -> None:
        self._learn_item(node.target, node.iter)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node)

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp  # type: ignore[assignment]  # noqa: N815

    def visit_Call(self, node: ast.Call) -> None:
        names = tuple(keyword.arg or "**" for keyword in node.keywords)
        if isinstance(node.func, ast.Attribute):
            self._use(node.func, call=(len(node.args), names))
            self.visit(node.func.value)
        elif ast.unparse(node.func) in ("hasattr", "getattr"):
            self._use_by_text(node)
        for child in [*node.args, *(keyword.value for keyword in node.keywords)]:
            self.visit(child)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._use(node)
        self.visit(node.value)

    def _comprehension(self, node: Any) -> None:
        before = dict(self.types)
        for generator in node.generators:
            self._learn_item(generator.target, generator.iter)
        self.generic_visit(node)
        self.types = before

    def _learn(self, text: str, kind: str | None) -> None:
        if kind:
            self.types[text] = kind

    def _learn_item(self, target: ast.expr, iterated: ast.expr) -> None:
        kind = self._type(iterated)
        if kind and kind.startswith("list of "):
            self._learn(ast.unparse(target), kind[8:])

    def _type(self, node: ast.expr) -> str | None:
        """Class of an expression; "class X" for X itself; "module" for trt."""
        text = ast.unparse(node)
        if text in ("trt", "self._trt"):
            return "module"
        if text in self.types:
            return self.types[text]
        if isinstance(node, ast.Call):
            return self._called(node)
        if isinstance(node, ast.Attribute):
            owner = self._type(node.value)
            if owner == "module":
                return f"class {node.attr}" if node.attr in self.classes else None
            if owner and owner.startswith("class "):
                nested = f"{owner[6:]}.{node.attr}"
                return f"class {nested}" if nested in self.classes else owner[6:]
            return PROPERTIES.get((owner or "", node.attr))
        if isinstance(node, ast.ListComp):
            before = dict(self.types)
            for generator in node.generators:
                self._learn_item(generator.target, generator.iter)
            kind = self._type(node.elt)
            self.types = before
            return f"list of {kind}" if kind else None
        return None

    def _called(self, node: ast.Call) -> str | None:
        kind = self._type(node.func)
        if kind and kind.startswith("class "):
            return kind[6:]
        name = ast.unparse(node.func).rpartition(".")[2]
        if isinstance(node.func, ast.Attribute):
            owner = self._type(node.func.value)
            if owner in self.classes:
                member = self._member(owner, node.func.attr)
                return result_of(member.get("signatures", []), self.classes) if member else None
        return self.functions.get(name)

    def _member(self, owner: str, name: str) -> Surface | None:
        found: Surface | None = self.classes[owner]["members"].get(name)
        return found

    def _use(self, node: ast.Attribute, **how: Any) -> None:
        owner = self._type(node.value)
        if owner is None or owner.startswith("list of "):
            if node.attr in self.with_underscore:
                self.problems.append(
                    f"{self._where(node)}: {ast.unparse(node)} looks like TensorRT's, but the type "
                    f"of {ast.unparse(node.value)} is unknown; annotate it"
                )
            return
        owner = "" if owner == "module" else owner.replace("class ", "")
        how["optional"] = f"{ast.unparse(node.value)}.{node.attr}" in self.guarded
        self.uses.append(Use(owner, node.attr, self._where(node), versions=self.versions, **how))

    def _use_by_text(self, node: ast.Call) -> None:
        """Names in hasattr(x, "name"): asked for, so not needed."""
        owner = self._type(node.args[0])
        if owner is None:
            return
        owner = "" if owner == "module" else owner.replace("class ", "")
        name = str(ast.literal_eval(node.args[1]))
        where, versions = self._where(node), self.versions
        self.uses.append(Use(owner, name, where, optional=True, versions=versions))

    def _where(self, node: ast.AST) -> str:
        return f"{self.path.name}:{getattr(node, 'lineno', 0)}"
