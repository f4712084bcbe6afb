"""Where a set may stand."""

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
