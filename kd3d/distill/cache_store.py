"""Entries on disk, memory-mapped, written by several processes at once without harm.

A folder holds, for every process that ever wrote, one data file and one index file that only this
process appends to. An entry's bytes are written first and its line of the index afterwards, in one
call. So whatever is interrupted leaves at most bytes that no line names, or half a last line, and
both are passed over. A key may have been written several times, by processes that did not see one
another or after its bytes were damaged; every place counts, the newest first.
"""

import json
import mmap
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from kd3d.distill.cache_entry import Layout, Skeleton
from kd3d.files import read_json, write_json


@dataclass(frozen=True)
class _Place:
    file: Path
    offset: int
    length: int
    checksum: int
    layout: Layout


class FeatureStore:
    """A folder of entries by key.

    Args:
        folder: made where it is absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.corrupt = 0
        self._places: dict[str, list[_Place]] = {}  # the newest last; no list is empty
        self._read_up_to: dict[Path, int] = {}
        self._maps: dict[Path, mmap.mmap] = {}
        self._checked: set[str] = set()
        self._data: BinaryIO | None = None
        self._index: BinaryIO | None = None
        self.refresh()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def size_bytes(self) -> int:
        """Of all data files, of this and of other processes."""
        return sum(path.stat().st_size for path in self.folder.glob("data-*.bin"))

    def refresh(self) -> None:
        """Takes note of what other processes have written since."""
        for path in sorted(self.folder.glob("index-*.jsonl"), key=_written_ns):
            start = self._read_up_to.get(path, 0)
            if path.stat().st_size <= start:
                continue
            with path.open("rb") as file:
                file.seek(start)
                text = file.read()
            whole = text.rfind(b"\n") + 1  # half a line: it is being written, or was interrupted
            self._read_up_to[path] = start + whole
            data = path.with_name(path.name.replace("index-", "data-").replace(".jsonl", ".bin"))
            for line in text[:whole].splitlines():
                self._note(line, data)

    def read(self, key: str) -> tuple[Any, Layout] | None:
        """A view of an entry's bytes and its layout; None where it is absent or corrupt.

        What is corrupt at one place is forgotten there; a key without any place left is computed
        and written again.
        """
        places = self._places.get(key)
        if places is None:
            return None
        while places:
            place = places[-1]
            data = self._view(place)
            if data is not None and (key in self._checked or zlib.crc32(data) == place.checksum):
                self._checked.add(key)
                return data, place.layout
            self._checked.discard(key)  # it was of this place
            places.pop()
        self.corrupt += 1
        del self._places[key]
        return None

    def write(self, key: str, data: bytes, layout: Layout) -> None:
        """Appends an entry: first its bytes, then the line that names them."""
        if self._data is None or self._index is None:
            name = uuid.uuid4().hex
            self._data = (self.folder / f"data-{name}.bin").open("ab", buffering=0)
            self._index = (self.folder / f"index-{name}.jsonl").open("ab", buffering=0)
            # a line that an interrupt cut off is not continued: names are never used again
        offset = self._data.tell()
        _write_all(self._data, data)
        line = {
            "key": key,
            "offset": offset,
            "length": len(data),
            "crc32": zlib.crc32(data),
            "shapes": layout.shapes,
            "types": layout.types,
        }
        _write_all(self._index, json.dumps(line).encode() + b"\n")
        index = Path(self._index.name)
        self._note(json.dumps(line).encode(), Path(self._data.name))
        self._read_up_to[index] = self._index.tell()

    def skeleton(self) -> Skeleton:
        """What :meth:`set_skeleton` kept; None where it is absent or damaged."""
        return read_json(self.folder / "skeleton.json")

    def set_skeleton(self, skeleton: Skeleton) -> None:
        """Keeps the nesting that all entries share."""
        write_json(self.folder / "skeleton.json", skeleton)

    def close(self) -> None:
        """Closes all files; harmless when called twice."""
        for file in (self._data, self._index):
            if file is not None:
                file.close()
        self._data = self._index = None
        self._maps = {}

    def _note(self, line: bytes, data: Path) -> None:
        try:
            found = json.loads(line)
            layout = Layout(tuple(map(tuple, found["shapes"])), tuple(found["types"]))
            place = _Place(data, found["offset"], found["length"], found["crc32"], layout)
        except (ValueError, KeyError, TypeError):  # a damaged line: its entry is made again
            self.corrupt += 1
            return
        self._places.setdefault(found["key"], []).append(place)
        self._checked.discard(found["key"])

    def _view(self, place: _Place) -> memoryview | None:
        end = place.offset + place.length
        mapped = self._maps.get(place.file)
        if mapped is None or len(mapped) < end:
            if not place.file.is_file() or place.file.stat().st_size < max(end, 1):
                return None
            with place.file.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._maps[place.file] = mapped
        return memoryview(mapped)[place.offset : end]


def _written_ns(path: Path) -> int:
    return path.stat().st_mtime_ns


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
