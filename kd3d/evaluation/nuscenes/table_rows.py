"""Reads a nuScenes table row by row: two of them hold millions of rows in the full data set."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kd3d.errors import UserError

_BLOCK = 1 << 22  # characters read at a time
_GAP = " \t\r\n,"

Row = dict[str, Any]  # Any: parsed JSON


def table_rows(folder: Path, name: str) -> Iterator[Row]:
    """The rows of ``<folder>/<name>.json``, one after the other, in constant memory.

    Raises:
        UserError: if the file is not a JSON list of objects.
    """
    path = folder / f"{name}.json"
    decoder = json.JSONDecoder()
    with path.open(encoding="utf-8") as stream:
        text, at = _to_first_row(stream.read(_BLOCK), path), 0
        while True:
            at = _skip(text, at)
            if text[at : at + 1] == "]":
                return
            try:
                row, after = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:
                more = stream.read(_BLOCK)
                if not more:
                    raise UserError(
                        f"{path}: expected a list of rows, but {error.msg} near the text "
                        f"{text[at : at + 40]!r}; download the table again"
                    ) from None
                text, at = text[at:] + more, 0
                continue
            if not isinstance(row, dict):
                raise UserError(f"{path}: expected rows that are objects, got {row!r}")
            at = after
            yield row


def _to_first_row(text: str, path: Path) -> str:
    start = text.lstrip()
    if not start.startswith("["):
        raise UserError(f"{path}: expected a JSON list, but the file starts with {start[:40]!r}")
    return start[1:]


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _GAP:
        at += 1
    return at
