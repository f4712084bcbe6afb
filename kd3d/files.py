"""Files and folders that are whole or absent, and fingerprints. Standard library only."""

import hashlib
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Union  # noqa: UP035  (the vehicle runs Python 3.8)

from kd3d.errors import UserError

PathLike = Union[str, Path]  # noqa: UP007  (the vehicle runs Python 3.8)


def free_path(path: PathLike, *, force: bool) -> Path:
    """``path`` if it may be written; ask before the work whose result goes there.

    Raises:
        FileExistsError: if ``force`` is not given; a command shows it as a user's mistake.
        IsADirectoryError: if a folder is there, which a file cannot replace; likewise.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected the name of a file")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists; replace it with --force, or give another --out")
    return path


def writable_path(path: PathLike, hint: str) -> Path:
    """``path`` if a file can be written there, or a folder made for it. Ask before long work.

    Args:
        path: of a file.
        hint: what to do where nothing can be written.

    Raises:
        UserError: if nothing can.
    """
    path = Path(path)
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{path}: expected to write in {folder}, got {error.strerror!r}; {hint}"
        ) from None
    return path


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that becomes ``out`` at the end; after an error it is gone.

    Whatever interrupts, ``out`` is as before or the new folder, whole. If the new one is gone at
    the end, ``out`` stays.

    Raises:
        UserError: at once, if nothing can be written beside ``out``.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise UserError(
            f"--out {out}: expected to make a folder in {out.parent}, got {error.strerror!r}; "
            "choose another --out, or mend the folders above it"
        ) from None
    new, old = holder / "new", holder / "old"
    try:
        new.mkdir()
        yield new
        if new.is_dir():
            if out.exists():
                out.rename(old)
            new.rename(out)
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(holder, ignore_errors=True)


def write_text(path: PathLike, text: str) -> Path:
    """Writes UTF-8 text to a temporary name beside ``path``, then renames it into place."""
    return write_bytes(path, text.encode())


def write_bytes(path: PathLike, content: bytes) -> Path:
    """Writes to a temporary name beside ``path``, then renames it into place."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())  # after a power failure: no name without its content
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def write_json(path: PathLike, value: Any) -> Path:  # Any: whatever json can write
    """Writes ``value`` as indented JSON, whole or not at all."""
    return write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: PathLike) -> Any:  # Any: whatever is in it
    """What a JSON file holds; None if it is absent, or damaged, as a power failure leaves one."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def expected_json(path: PathLike, what: str) -> Any:  # Any: whatever is in it
    """What a file of the user's holds; the error for one that is no JSON names ``what`` it is.

    Raises:
        UserError: if it is no JSON; an absent one is a FileNotFoundError, as ever.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # of bytes that are no text, too
        raise UserError(f"{path}: expected {what}, but {error}") from None


def user_cache() -> Path:
    """The user's folder of what may be deleted at any time and is made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kd3d"


def sha256_of(path: PathLike, digits: int = 12) -> str:
    """First hexadecimal digits of the file's SHA-256, which has 64."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()[:digits]
