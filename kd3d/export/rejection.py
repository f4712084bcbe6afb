"""What becomes of an export of which files are not equal to PyTorch."""

import shutil
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from kd3d.export.folder import replace_rejected
from kd3d.export.proof import Exported, export_record_file


def reject(exported: Exported, failed: Collection[str], target: Path) -> Path:
    """Moves an export to ``target``.rejected, and leaves in its folder what passed.

    Both are whole bundles: the rejected one has every file, since a file is compared with those
    beside it; the other names none that failed. Where fp32 failed, of which the others are made,
    no folder is left.

    Args:
        exported: with all files.
        failed: their precisions.
        target: where the export was to go.

    Returns:
        The rejected folder; an earlier one is replaced.
    """
    folder, models = exported.folder, exported.manifest.models
    if "fp32" in failed:
        return replace_rejected(folder, target)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{target.name}.") as aside:
        copied = shutil.copytree(folder, Path(aside) / "copy")
        rejected = replace_rejected(copied, target)
    for precision in failed:
        (folder / models[precision].file).unlink()
        (folder / export_record_file(precision)).unlink()
    passed = {name: model for name, model in models.items() if name not in failed}
    replace(exported.manifest, models=passed).write(folder)
    return rejected
