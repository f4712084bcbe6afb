"""Which scenes a split has: nuScenes' own, or those of a ``splits.json`` beside the tables."""

from pathlib import Path

from kd3d.errors import UserError
from kd3d.files import expected_json

# What a predefined split's version has to end with.
_VERSION_OF_SPLIT = {
    "train": "trainval",
    "val": "trainval",
    "train_detect": "trainval",
    "train_track": "trainval",
    "mini_train": "mini",
    "mini_val": "mini",
    "test": "test",
}


def is_predefined(split: str) -> bool:
    """Whether nuScenes defines the split itself."""
    return split in _VERSION_OF_SPLIT


def scenes_of_split(dataroot: Path, version: str, split: str) -> list[str]:
    """Names of the split's scenes.

    Raises:
        UserError: if the version does not have the split.
    """
    path = dataroot / version / "splits.json"
    if is_predefined(split):
        if not version.endswith(_VERSION_OF_SPLIT[split]):
            raise UserError(
                f"split {split}: expected a version that ends with {_VERSION_OF_SPLIT[split]!r}, "
                f"got {version}"
                + (f"; its own splits are named in {path}" if path.is_file() else "")
            )
        from nuscenes.utils.splits import create_splits_scenes

        scenes: list[str] = create_splits_scenes()[split]
        return scenes
    if not path.is_file():
        raise UserError(
            f"split {split}: neither one of {sorted(_VERSION_OF_SPLIT)} nor is there {path}; "
            "custom splits are listed there as {name: [scenes]}"
        )
    custom = expected_json(path, "JSON")
    if not isinstance(custom, dict) or not isinstance(custom.get(split), list):
        known = sorted(custom) if isinstance(custom, dict) else custom
        raise UserError(f"{path}: expected a list of scenes under {split!r}, found {known}")
    return [str(scene) for scene in custom[split]]
