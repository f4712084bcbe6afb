"""Where a set may stand, and how it gets there: whole, or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kd3d.errors import UserError


def check_place(out: Path) -> None:
    """Asks before the work what would fail after it, when the finished folder is renamed.

    Args:
        out: absolute and without links, as ``Path.resolve`` gives it.

    Raises:
        UserError: if no folder can be renamed to ``out``.
    """
    here = Path.cwd()
    inside = out / "synthetic_nuscenes"
    if out in (here, *here.parents):
        raise UserError(
            f"--out {out}: expected a folder that can be replaced, but the current folder {here} "
            f"would be lost with it; give one of its own, such as {inside}"
        )
    if out.is_mount():
        raise UserError(
            f"--out {out}: expected a folder that can be replaced, got a mount point; give one in "
            f"it, such as {inside}"
        )
    if out.exists() and not out.is_dir():
        raise UserError(
            f"--out {out}: expected a folder or a free name, got a file; choose another"
        )


@contextmanager
def takes_the_place_of(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that becomes ``out`` at the end; after an error it is gone.

    Whatever interrupts, ``out`` is the old set or the new one, whole.

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
        if out.exists():
            out.rename(old)
        new.rename(out)
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(holder, ignore_errors=True)
