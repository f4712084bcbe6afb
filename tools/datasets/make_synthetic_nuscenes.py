"""Makes a small synthetic driving world in nuScenes' format: tables, LiDAR, cameras, infos.

Examples:
    python tools/datasets/make_synthetic_nuscenes.py --out data/world --scenes 40 --val-scenes 8
    python tools/datasets/make_synthetic_nuscenes.py --out data/rain --scenes 10 --domain night

The infos (nuscenes_infos_SPLIT.pkl) are those that MMDetection3D's converter would write, but for
test scenes: it takes all for val that is not in train. It reads a set with --cameras only.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from kd3d.datasets.synthetic.nuscenes.dataset import World, make_world
from kd3d.errors import user_errors
from kd3d.signals import ended_by_signals


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    standard = World()
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the set")
    add("--scenes", type=int, default=standard.scenes, help="of the split train, default 40")
    add("--val-scenes", type=int, default=standard.val_scenes, help="default 8")
    add("--test-scenes", type=int, default=standard.test_scenes, help="synthetic_test, default 0")
    add("--keyframes", type=int, default=standard.keyframes, help="a scene, at 2 Hz; default 10")
    add("--seed", type=int, default=standard.seed, help="same seed, same files; default 0")
    add("--sweeps", type=int, default=0, help="LiDAR turns before each keyframe, 0 (default) to 9")
    add("--domain", choices=["day", "night"], default="day", help="clear day or rainy night")
    add("--lidar-range-m", type=float, default=standard.lidar_range_m, help="default 100")
    add("--cameras", action=argparse.BooleanOptionalAction, default=False, help="render cameras")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes, default all cores")
    add("--force", action="store_true", help="replace a set of other settings")
    return parser.parse_args()


class Bar:
    """A progress bar on one line, with the time that is left and at the end the rate.

    Args:
        flags: what the rate depends on, to be shown with it.
    """

    def __init__(self, flags: str) -> None:
        self.start = time.monotonic()
        self.flags = flags

    def __call__(self, done: int, total: int) -> None:
        """Shows that ``done`` of ``total`` keyframes are written."""
        passed = time.monotonic() - self.start
        end = f"{passed * (total - done) / done:.0f} s left   "
        if done == total:
            end = f"{done / passed:.1f} keyframes/s in {passed:.1f} s ({self.flags})\n"
        bar = "#" * (30 * done // total)
        print(f"\r[{bar:30s}] {done}/{total} keyframes, {end}", end="", file=sys.stderr, flush=True)


def main() -> None:
    """Makes the set and prints where it is."""
    args = parse()
    with user_errors(), ended_by_signals():
        world = World(
            scenes=args.scenes,
            val_scenes=args.val_scenes,
            test_scenes=args.test_scenes,
            keyframes=args.keyframes,
            seed=args.seed,
            sweeps=args.sweeps,
            domain=args.domain,
            cameras=args.cameras,
            lidar_range_m=args.lidar_range_m,
        )
        bar = Bar(f"--workers {args.workers}{world.flags()}")
        made = make_world(args.out, world, overwrite=args.force, workers=args.workers, progress=bar)
        print(f"{args.out} ({'made' if made else 'complete already'})")


if __name__ == "__main__":
    main()
