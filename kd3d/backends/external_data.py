"""Files beside an ONNX file that hold its weights, found without onnx. Standard library only."""

from __future__ import annotations

import re
from pathlib import Path

# A StringStringEntryProto with the key "location", as every program writes it: key, then value.
# What follows is the value's length in 7-bit groups, then the path in UTF-8.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x80-\xff]*[\x00-\x7f])")


def external_files(onnx_path: Path) -> list[str]:
    """Paths relative to the file's folder, sorted; files that are not there are left out.

    Their absence is for the parser to tell: it says which tensor needs them.
    """
    content = onnx_path.read_bytes()
    found = set()
    for match in _LOCATION.finditer(content):
        length = sum((byte & 127) << 7 * place for place, byte in enumerate(match.group(1)))
        found.add(content[match.end() : match.end() + length].decode("utf-8", "replace"))
    return sorted(name for name in found if _is_file(onnx_path.parent, name))


def _is_file(folder: Path, name: str) -> bool:
    try:
        return bool(name) and (folder / name).is_file()
    except (OSError, ValueError):  # no path at all: these bytes were something else
        return False
