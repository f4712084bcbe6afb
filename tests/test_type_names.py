"""A config's ``type`` may be a class: kd3d reads it through ``type_name`` alone."""

import ast

import pytest
from module_imports import MODULES, TOOLS, parse

COMPARED = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)


def is_type(node: ast.AST) -> bool:
    """``x["type"]``, ``x.get("type", ...)`` or ``x.type``."""
    match node:
        case ast.Subscript(slice=ast.Constant("type")):
            return True
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant("type"), *_]):
            return True
        case ast.Attribute(attr="type"):
            return True
    return False


def names_a_class(node: ast.AST) -> bool:
    """Texts, or one or some of them in brackets, of which one begins as classes do."""
    texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
    return any(isinstance(text, str) and text[:1].isupper() for text in texts)


def reads_as_text(node: ast.AST) -> bool:
    match node:
        case ast.Compare(ops=[op]) if isinstance(op, COMPARED):
            sides = [node.left, *node.comparators]
            typed = [side for side in sides if is_type(side)]
            plain = [side for side in typed if not isinstance(side, ast.Attribute)]
            return bool(plain or (typed and any(map(names_a_class, sides))))  # not device.type
        case ast.Call(func=ast.Name("str"), args=[argument]):
            return is_type(argument)
        case ast.Call(func=ast.Name("getattr"), args=[value, ast.Constant("__name__"), default]):
            return ast.dump(value) == ast.dump(default)
        case ast.Call(func=ast.Attribute(value=owner)):
            return is_type(owner) and not isinstance(owner, ast.Attribute)
    return False


@pytest.mark.parametrize(
    "line",
    [
        'step["type"] == "Resize"',
        'hook.get("type") != "DistillHook"',
        'config["type"] not in names',
        'hook.type == "DistillHook"',
        'hook.type in ("DistillHook", "EMAHook")',
        'str(step.get("type", "")).split(".")[-1]',
        "str(head.type)",
        'step["type"].endswith("Resize")',
        'getattr(value, "__name__", value)',
    ],
)
def test_a_type_read_as_text_is_seen(line):
    assert any(map(reads_as_text, ast.walk(ast.parse(line))))


@pytest.mark.parametrize(
    "line",
    ['type_name(step) == "Resize"', 'device.type == "cuda"', "value.type.tensor_type.shape"],
)
def test_what_is_no_configs_type_is_left(line):
    assert not any(map(reads_as_text, ast.walk(ast.parse(line))))


def test_no_source_reads_a_configs_type_as_text():
    paths = [*MODULES.values(), *TOOLS]
    assert len(paths) >= 200
    found = [
        f"{path}:{node.lineno}: {ast.unparse(node)}; use kd3d.configs.type_name"
        for path in paths
        for node in ast.walk(parse(path))
        if reads_as_text(node)
    ]
    assert found == []
