"""Writes MMDetection3D's info files for a folder in KITTI's object layout; its files stay.

Example:
    python tools/datasets/kitti_infos.py training --out data/kitti --train 0-109 --val 120-153
"""

import argparse
import pickle
from pathlib import Path

from kd3d.datasets.kitti import parse_splits
from kd3d.datasets.kitti_infos import kitti_infos
from kd3d.errors import UserError, user_errors
from kd3d.files import free_path, write_bytes

SPLITS = ("train", "val", "test")


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="with image_2, label_2, calib, velodyne_reduced")
    parser.add_argument("--out", type=Path, required=True, help="gets kitti_infos_*.pkl")
    for split in SPLITS:
        parser.add_argument(
            f"--{split}", help="frames: ranges such as 0-109,120, or a file with one a line"
        )
    parser.add_argument(
        "--read", action="append", default=[], metavar="VAN=CAR", help="one type as another"
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
        paths = {split: args.out / f"kitti_infos_{split}.pkl" for split in wanted}
        for path in paths.values():
            free_path(path, force=args.force)
        pairs = [item.partition("=") for item in args.read]
        kinds = {one: other for one, _, other in pairs}
        # all are converted before any is written: a mistake in one split leaves nothing behind
        converted = {
            split: kitti_infos(args.root, frames, kinds=kinds)
            for split, frames in parse_splits(wanted).items()
        }
        for split, infos in converted.items():
            write_bytes(paths[split], pickle.dumps(infos))
            boxes = sum(
                instance["bbox_label_3d"] >= 0
                for frame in infos["data_list"]
                for instance in frame["instances"]
            )
            print(f"{paths[split]}: {len(infos['data_list'])} frames, {boxes} boxes")


if __name__ == "__main__":
    main()
