"""Writes a part of a COCO json: some images, chosen at random, with all of their annotations.

Example:
    python tools/datasets/coco_subset.py instances_train.json --fraction 0.1 --out few_train.json
"""

import argparse
from pathlib import Path

from kd3d.datasets.subset import read_coco, subset_of_coco
from kd3d.errors import UserError, user_errors
from kd3d.files import free_path, write_json


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotations", type=Path, help="a COCO json")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--images", type=int, help="how many images to keep")
    size.add_argument("--fraction", type=float, help="part of the images to keep, in (0, 1]")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same images; default 0")
    parser.add_argument("--out", type=Path, required=True, help="the COCO json to write")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
    return parser.parse_args()


def main() -> None:
    """Writes the subset and prints its size."""
    args = parse()
    with user_errors():
        if args.out.resolve() == args.annotations.resolve():
            raise UserError(f"--out {args.out}: is the whole set itself; give another name")
        free_path(args.out, force=args.force)
        coco = read_coco(args.annotations)
        images = args.images
        if images is None:
            if not 0 < args.fraction <= 1:
                raise UserError(f"expected --fraction in (0, 1], got {args.fraction}")
            images = max(1, round(args.fraction * len(coco["images"])))
        part = subset_of_coco(coco, images, args.seed)
        write_json(args.out, part)
        print(f"{args.out}: {len(part['images'])} images, {len(part['annotations'])} annotations")


if __name__ == "__main__":
    main()
