"""A module ``tensorrt`` for tests, generated from what a version's real bindings have.

Classes, members and signatures come from tests/backends/tensorrt_api/VERSION.json, which
tools/tensorrt_api/check_tensorrt_api.py wrote: a name that the version lacks raises
AttributeError, an argument that its signature refuses raises TypeError. What the members do is in
fake_tensorrt_parts.py. Runs on Python 3.8.
"""

import json
import re
import types
from pathlib import Path

import fake_tensorrt_parts as parts

SURFACES = Path(__file__).parent / "backends/tensorrt_api"
VERSIONS = ("8.5.2.2", "8.6.0", "10.3.0", "10.16.1.11", "11.4.0.106")
SUBCLASSED = ("ILogger", "IProfiler")  # that kd3d derives from


def fake_tensorrt(version, cudart, read_model):
    """The module, and the world behind it.

    Args:
        version: one of VERSIONS.
        cudart: whose GPU and memory it uses.
        read_model: from a path to a model with ``inputs``, ``outputs``, ``layers`` and ``run``.
    """
    text = (SURFACES / f"{version}.json").read_text(encoding="utf-8")
    surface = json.loads(text)
    module = types.ModuleType("tensorrt")
    module.__version__ = surface["tensorrt"]
    world = parts.World(module, cudart, read_model)
    for name, content in surface["classes"].items():
        setattr(module, name, _make_class(name, content, world))
    for name, details in surface["functions"].items():
        setattr(module, name, _function(name, details["signatures"], world))
    return module, world


def _function(name, signatures, world):
    def call(*arguments, **named):
        return getattr(world, name)(**check(name, signatures, arguments, named, world))

    return call


def _make_class(name, content, world):
    if content["values"]:
        return _make_enum(name, content)
    part = getattr(parts, name, None)
    bases = (bytes,) if name == "IHostMemory" else (object,)  # it has the buffer protocol
    members = {"__init__": _constructor(name, content["members"], part, world)}
    if name == "IHostMemory":
        del members["__init__"]
    for member, details in content["members"].items():
        if member != "__init__":
            members[member] = _member(name, member, details, part, world)
    if name not in SUBCLASSED and name != "IHostMemory":
        members["__setattr__"] = _set_only(content["members"])
    kind = type(name, bases, members)
    for inner, value in content["classes"].items():
        setattr(kind, inner, _make_class(inner, value, world))
    return kind


def _make_enum(name, content):
    """Members have a name, a value and ``int()``, and are no integers, as pybind11 makes them."""
    kind = type(name, (), {"__int__": lambda self: self.value})
    for member, number in content["values"].items():
        item = kind()
        item.name, item.value = member, number
        setattr(kind, member, item)
    return kind


def _constructor(name, members, part, world):
    signatures = members.get("__init__", {}).get("signatures", [])

    def make(self, *arguments, **named):
        if not signatures:
            raise TypeError(f"{name}: No constructor defined!")
        bound = check(f"{name}.__init__", signatures, (self, *arguments), named, world)
        object.__setattr__(self, "_part", part(world, **bound) if part else None)
        world.watch(self)

    return make


def _member(owner, name, details, part, world):
    if "writable" in details or "signatures" not in details:

        def get(self):
            return getattr(self._part, name)

        return property(get) if details else _unused(owner, name)
    signatures = details["signatures"]

    def call(self, *arguments, **named):
        if not hasattr(self, "_part"):
            raise TypeError(f"{owner}.__init__() must be called when overriding __init__")
        bound = check(f"{owner}.{name}", signatures, (self, *arguments), named, world)
        return getattr(self._part, name)(**bound)

    return call


def _unused(owner, name):
    def refuse(self):
        raise NotImplementedError(
            f"{owner}.{name}: kd3d did not use it when tools/tensorrt_api last ran; run it again"
        )

    return property(refuse)


def _set_only(members):
    def set_attribute(self, name, value):
        if not members.get(name, {}).get("writable"):
            raise AttributeError(f"can't set attribute {name}")
        setattr(self._part, name, value)

    return set_attribute


def check(label, signatures, arguments, named, world):
    """Arguments by name without self, for the first signature that takes them; else TypeError."""
    for signature in signatures:
        parameters = parameters_of(signature)
        names = [name for name, _, _ in parameters]
        if len(arguments) > len(names) or not set(named) <= set(names[len(arguments) :]):
            continue
        bound = dict(zip(names, arguments), **named)  # noqa: B905  (Python 3.8)
        missing = [name for name, _, default in parameters if not default and name not in bound]
        kinds = {name: kind for name, kind, _ in parameters}
        if not missing and all(fits(bound[n], kinds[n], world) for n in bound if n != "self"):
            return {name: value for name, value in bound.items() if name != "self"}
    raise TypeError(
        f"{label}(): incompatible function arguments {arguments[1:]} {named}; {signatures}"
    )


def parameters_of(signature):
    """(name, type, has a default) of each parameter of "f(self: X, flags: int = 0) -> Y"."""
    inner = signature[signature.index("(") + 1 : signature.rindex(") ->")]
    found = []
    for text in re.split(r", (?=\w+: )", inner):
        name, _, rest = text.partition(": ")
        found.append((name, rest.partition(" = ")[0], " = " in rest))
    return found


def fits(value, kind, world):
    """Whether pybind11 would take the value for the type, numbers and containers strictly."""
    plain = {"str": str, "bool": bool, "tuple": tuple, "list": list, "buffer": bytes}
    kind = kind.replace("typing.", "").replace("typing_extensions.Buffer", "buffer")
    if kind in plain:
        return isinstance(value, plain[kind])
    if kind in ("int", "SupportsInt"):
        return type(value) is int
    if kind in ("float", "SupportsFloat"):
        return isinstance(value, (int, float))
    if kind == "Dims":
        return isinstance(value, (tuple, list)) and all(type(size) is int for size in value)
    expected = world.kind(kind)
    return expected is None or isinstance(value, expected)
