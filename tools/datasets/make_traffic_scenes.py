"""Makes drawn traffic scenes in COCO format, which configs/recipes/traffic_scenes.py trains on.

Example:
    python tools/datasets/make_traffic_scenes.py --out data/traffic_scenes
"""

import argparse
import sys
from pathlib import Path

from kd3d.datasets.synthetic.traffic_set import TrafficSet, make_traffic_set
from kd3d.errors import user_errors


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the set")
    for split, count in TrafficSet().splits.items():
        parser.add_argument(
            f"--{split}", type=int, default=count, help=f"images in {split}, default {count}"
        )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same images; default 0")
    parser.add_argument("--force", action="store_true", help="replace a set of other settings")
    return parser.parse_args()


def show(split: str, done: int, total: int) -> None:
    """A progress bar on one line."""
    if done % 10 == 0 or done == total:
        bar = "#" * (30 * done // total)
        end = "\n" if done == total else ""
        print(f"\r{split:5s} [{bar:30s}] {done}/{total}", end=end, file=sys.stderr, flush=True)


def main() -> None:
    """Makes what is missing and prints where it is."""
    args = parse()
    with user_errors():
        settings = TrafficSet(seed=args.seed, train=args.train, val=args.val, test=args.test)
        made = make_traffic_set(args.out, settings, overwrite=args.force, progress=show)
        print(f"{args.out} ({'made' if made else 'complete already'})")


if __name__ == "__main__":
    main()
