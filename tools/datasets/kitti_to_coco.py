"""Writes COCO jsons for images in KITTI's object layout; the images stay where they are.

Example:
    python tools/datasets/kitti_to_coco.py training --out data/kitti --train 0-109 --val 120-153
"""

import argparse
from pathlib import Path

from kd3d.datasets.kitti import coco_from_kitti, parse_splits
from kd3d.errors import UserError, user_errors
from kd3d.files import free_path, write_json

SPLITS = ("train", "val", "test")


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="folder with image_2 and label_2")
    parser.add_argument("--out", type=Path, required=True, help="gets annotations/instances_*.json")
    for split in SPLITS:
        parser.add_argument(
            f"--{split}", help="frames: ranges such as 0-109,120, or a file with one a line"
        )
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
    return parser.parse_args()


def main() -> None:
    """Converts each split and prints the files written."""
    args = parse()
    with user_errors():
        wanted = {split: getattr(args, split) for split in SPLITS if getattr(args, split)}
        if not wanted:
            raise UserError("nothing to convert; give frames, such as --train 0-109")
        paths = {split: args.out / "annotations" / f"instances_{split}.json" for split in wanted}
        for path in paths.values():
            free_path(path, force=args.force)
        # all are converted before any is written: a mistake in one split leaves nothing behind
        converted = {
            split: coco_from_kitti(args.root, frames)
            for split, frames in parse_splits(wanted).items()
        }
        for split, coco in converted.items():
            write_json(paths[split], coco)
            crowd = sum(entry["iscrowd"] for entry in coco["annotations"])
            boxes = len(coco["annotations"]) - crowd
            print(
                f"{paths[split]}: {len(coco['images'])} images, "
                f"{boxes} boxes, {crowd} ignored regions"
            )


if __name__ == "__main__":
    main()
