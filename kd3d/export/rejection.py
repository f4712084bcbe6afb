"""What becomes of an export of which files are not equal to PyTorch."""

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from kd3d.export.proof import Exported, export_record_file
from kd3d.files import whole_folder


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
    rejected = target.with_name(f"{target.name}.rejected")
    with whole_folder(rejected) as place:
        shutil.copytree(folder, place, dirs_exist_ok=True)
    if "fp32" in failed:
        shutil.rmtree(folder)
        return rejected
    for precision in failed:
        (folder / models[precision].file).unlink()
        (folder / export_record_file(precision)).unlink()
    passed = {name: model for name, model in models.items() if name not in failed}
    replace(exported.manifest, models=passed).write(folder)
    return rejected
