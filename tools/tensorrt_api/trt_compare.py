"""Compares the names that kd3d uses with what a version of TensorRT offers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trt_used_names import PROPERTIES, Surface, Use, classes_of, result_of


def missing_names(uses: Iterable[Use], surface: Surface) -> list[str]:
    """One text for each use that this version does not allow."""
    classes = classes_of(surface)
    major = int(str(surface["tensorrt"]).partition(".")[0])
    texts = []
    for use in uses:
        if use.optional or (use.versions and major not in use.versions):
            continue
        reason = _reason(use, classes, surface["functions"])
        if reason:
            label = f"{use.owner}.{use.name}".strip(".")
            texts.append(f"{use.where}: {label}: {reason}")
    return texts


def unknown_everywhere(uses: Iterable[Use], surfaces: Iterable[Surface]) -> list[str]:
    """Names that the code asks for with hasattr and that no version has: misspelt ones."""
    versions = [(classes_of(surface), surface["functions"]) for surface in surfaces]
    return [
        f"{use.where}: {use.owner}.{use.name}: in no version"
        for use in uses
        if use.optional and all(_reason(use, *version) for version in versions)
    ]


def used_part(uses: Iterable[Use], surface: Surface) -> Surface:
    """The classes that are used, with what their used methods and properties return.

    Members that are not used keep their names, so that it is known that they exist.
    """
    uses = list(uses)
    classes = classes_of(surface)
    names = {use.owner or use.name for use in uses}
    names |= set(PROPERTIES.values())
    for use in uses:
        member = classes.get(use.owner, {}).get("members", {}).get(use.name, {})
        names |= {result_of(member.get("signatures", []), classes) or ""}
    kept = {name.partition(".")[0] for name in names} & set(classes)
    used = {(use.owner, use.name) for use in uses}
    return {
        "tensorrt": surface["tensorrt"],
        "classes": {name: _named(name, surface["classes"][name], used) for name in sorted(kept)},
        "functions": {
            name: details for name, details in surface["functions"].items() if ("", name) in used
        },
    }


def _named(name: str, kind: Surface, used: set[tuple[str, str]]) -> Surface:
    """A class whose members have details only where they are used."""
    members = {
        member: details if (name, member) in used or member == "__init__" else {}
        for member, details in kind["members"].items()
    }
    return {**kind, "members": members}


def parameters_of(signature: str) -> list[tuple[str, str, bool]]:
    """(name, type, has a default) of "f(self: X, flags: int = 0) -> Y", self among them."""
    inner = signature[signature.index("(") + 1 : signature.rindex(")")]
    parts, depth, part = [], 0, ""
    for character in inner:
        depth += (character in "([<{") - (character in ")]>}")
        if character == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += character
    found = []
    for text in [*parts, part]:
        if text.strip():
            name, _, rest = text.strip().partition(": ")
            found.append((name, rest.partition(" = ")[0], " = " in rest))
    return found


def accepts(signature: str, positional: int, names: tuple[str, ...]) -> bool:
    """Whether a call with so many arguments and these named ones fits the signature."""
    parameters = parameters_of(signature)
    left = parameters[positional:]
    known = {name for name, _, _ in left}
    needed = {name for name, _, has_default in left if not has_default}
    return positional <= len(parameters) and set(names) <= known and needed <= set(names)


def _reason(use: Use, classes: Mapping[str, Surface], functions: Mapping[str, Surface]) -> str:
    """Why a use is not allowed; empty if it is."""
    if not use.owner:
        if use.name == "__version__":
            return ""
        if use.name in functions:
            return _call_reason(functions[use.name]["signatures"], use, bound=False)
        if use.name not in classes:
            return "no such class or function"
        signatures = classes[use.name]["members"].get("__init__", {}).get("signatures", [])
        return _call_reason(signatures, use, bound=True)
    if use.owner not in classes:
        return "no such class"
    kind = classes[use.owner]
    if use.name in kind["values"] or use.name in kind["classes"]:
        return ""
    member = kind["members"].get(use.name)
    if member is None:
        return "no such member"
    if use.assigned and not member.get("writable"):
        return "cannot be set"
    return _call_reason(member.get("signatures", []), use, bound=use.name != "__init__")


def _call_reason(signatures: list[str], use: Use, *, bound: bool) -> str:
    if use.call is None or not signatures:
        return ""
    positional, names = use.call
    if any(accepts(text, positional + bound, names) for text in signatures):
        return ""
    return f"called with {positional} arguments and {list(names)}, expected {signatures}"
