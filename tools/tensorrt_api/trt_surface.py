"""Writes down what TensorRT's bindings offer: classes, members, signatures. Nothing is called.

Run by check_tensorrt_api.py in the Python that the wheel was made for (3.8 or newer, standard
library only): ``python trt_surface.py MODULE OUT.json``. Kept are names and the signatures that
the bindings' generator put into the docstrings, not the documentation.
"""

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any, Dict, List  # noqa: UP035  (TensorRT 8's wheels are of Python 3.8)

Surface = Dict[str, Any]  # noqa: UP006
SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+\(.*\).*)$")


def surface_of(module: Any) -> Surface:
    """Every class and function of a module by name, and its version."""
    members = {name: getattr(module, name) for name in sorted(dir(module)) if name[0] != "_"}
    classes = {n: class_surface(value) for n, value in members.items() if isinstance(value, type)}
    functions = {
        name: {"signatures": signatures_of(name, value)}
        for name, value in members.items()
        if callable(value) and name not in classes
    }
    return {"tensorrt": module.__version__, "classes": classes, "functions": functions}


def class_surface(kind: Any) -> Surface:
    """Bases, members, and nested classes of one class."""
    enum = getattr(kind, "__members__", {})
    names = [name for name in sorted(dir(kind)) if not name.startswith("_") or name == "__init__"]
    nested = {name: getattr(kind, name) for name in names if isinstance(getattr(kind, name), type)}
    values = set(enum)
    return {
        "bases": [base.__name__ for base in kind.__mro__[1:] if base.__module__ != "builtins"],
        "values": {name: int(enum[name]) for name in sorted(values)},
        "members": {
            name: member_surface(name, kind) for name in names if name not in values | set(nested)
        },
        "classes": {name: class_surface(value) for name, value in nested.items()},
    }


def member_surface(name: str, kind: Any) -> Surface:
    """Signatures of a method, or whether a property can be set."""
    value = next((vars(c)[name] for c in kind.__mro__ if name in vars(c)), None)
    if isinstance(value, property):
        return {"writable": value.fset is not None}
    if not callable(getattr(kind, name)):
        return {"value": type(value).__name__}
    return {"signatures": signatures_of(name, getattr(kind, name))}


def signatures_of(name: str, function: Any) -> List[str]:  # noqa: UP006
    """Every signature in a docstring of the bindings' generator."""
    text = function.__doc__ or ""
    found = [SIGNATURE.match(line.strip()) for line in text.splitlines()]
    signatures = [match.group(1) for match in found if match and match.group(1).startswith(name)]
    plain = [line for line in signatures if "*args, **kwargs" not in line]
    return [re.sub(r"\w+\.tensorrt\.", "", line) for line in plain]


def main() -> None:
    """Imports the module, writes the file."""
    module = importlib.import_module(sys.argv[1])
    text = json.dumps(surface_of(module), indent=1, sort_keys=True)
    Path(sys.argv[2]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
