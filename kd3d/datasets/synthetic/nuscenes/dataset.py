"""Writes a whole set in nuScenes' folders, or nothing.

The set grows in a temporary folder beside its place and is renamed when it is complete.
"""

import json
import multiprocessing
import pickle
import signal
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from kd3d.datasets.synthetic.nuscenes.cameras import CAMERAS
from kd3d.datasets.synthetic.nuscenes.coco import COCO, write_coco
from kd3d.datasets.synthetic.nuscenes.infos import infos_of
from kd3d.datasets.synthetic.nuscenes.place import check_place
from kd3d.datasets.synthetic.nuscenes.ray_casting import RANGE_M
from kd3d.datasets.synthetic.nuscenes.recording import Recording, record_scene
from kd3d.datasets.synthetic.nuscenes.tables import (
    LIDAR,
    TABLES,
    VERSION,
    Tables,
    common_rows,
    token_maker,
)
from kd3d.errors import UserError
from kd3d.files import whole_folder

Progress = Callable[[int, int], None]
SETTINGS_FILE = "set.json"
_TOOL = "tools/datasets/make_synthetic_nuscenes.py"
_TEST_IN_VAL = 3  # the version that differs from this one in the names of test scenes alone
README = """This driving world is synthetic. kd3d made it; no camera or LiDAR ever saw it.

It has the folders and tables of nuScenes v1.0 (nuscenes.org), so that nuscenes-devkit and
MMDetection3D read it, and borrows scene names from nuScenes' official splits for the same reason.
Figures measured on it say nothing about nuScenes.

The settings it was made with are in set.json.
"""


@dataclass(frozen=True)
class World:
    """What decides every file of a set.

    Attributes:
        scenes: of the split train.
        val_scenes: of the split val, likewise ``test_scenes``.
        keyframes: of each scene, at 2 Hz.
        seed: of the whole set.
        sweeps: LiDAR turns at 20 Hz before each keyframe, 0 to 9.
        domain: "day" (clear) or "night" (with rain).
        cameras: whether the six cameras are rendered.
        lidar_range_m: how far the LiDAR sees; objects without a return are not evaluated.
        version: raised whenever the world changes, so that old files are not taken for new ones.
    """

    scenes: int = 40
    val_scenes: int = 8
    test_scenes: int = 0
    keyframes: int = 10
    seed: int = 0
    sweeps: int = 0
    domain: str = "day"
    cameras: bool = False
    lidar_range_m: float = RANGE_M
    version: int = 4

    def check(self) -> None:
        """Raises UserError for what cannot be made."""
        official = official_scene_names()
        for name, split, count in (
            ("--scenes", "train", self.scenes),
            ("--val-scenes", "val", self.val_scenes),
            ("--test-scenes", "test", self.test_scenes),
        ):
            most = len(official[split])
            if not 0 <= count <= most:
                raise UserError(
                    f"expected {name} between 0 and {most}, as many as nuScenes' official split "
                    f"has names, got {count}; make a second set with another --seed instead"
                )
        if self.scenes + self.val_scenes + self.test_scenes < 1 or self.keyframes < 1:
            raise UserError("expected at least one scene and one keyframe (--scenes, --keyframes)")
        if self.seed < 0:
            raise UserError(f"expected --seed of 0 or more, got {self.seed}")
        if not 0 <= self.sweeps <= 9:
            raise UserError(
                f"expected --sweeps between 0 and 9 (a keyframe comes every tenth turn of the "
                f"LiDAR), got {self.sweeps}"
            )
        if not 0 < self.lidar_range_m <= RANGE_M:
            raise UserError(
                f"expected --lidar-range-m between 0 and {RANGE_M:g} m, got {self.lidar_range_m:g}"
            )

    def flags(self) -> str:
        """What differs from the defaults, as the tool's command line has it.

        >>> World(seed=3, val_scenes=2, cameras=True).flags()
        ' --val-scenes 2 --seed 3 --cameras'
        """
        texts = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default and field.name != "version":
                texts.append(
                    f" --{field.name.replace('_', '-')}" + f" {value}" * (value is not True)
                )
        return "".join(texts)

    def splits(self) -> dict[str, list[str]]:
        """Scene names of train, val and test."""
        official = official_scene_names()
        counts = {"train": self.scenes, "val": self.val_scenes, "test": self.test_scenes}
        return {split: official[split][:count] for split, count in counts.items()}


def official_scene_names() -> dict[str, list[str]]:
    """The scenes of nuScenes' splits train, val and test.

    Each split takes the names of its own: stock tools go by them, and have no others for val.
    """
    # imported here: it brings matplotlib along, and workers do not need it
    from nuscenes.utils.splits import test, train, val

    return {"train": list(train), "val": list(val), "test": list(test)}


def make_world(
    out: Path,
    world: World,
    *,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress = lambda done, total: None,
) -> bool:
    """Makes a set, unless it is there.

    Args:
        out: folder of the set; where it is a link, the folder that it leads to.
        world: what to make; the files do not depend on ``workers``.
        overwrite: replace what is at ``out``, unless it is the same.
        workers: processes.
        progress: called with keyframes done and keyframes in all, after each scene.

    Returns:
        Whether anything had to be written.

    Raises:
        UserError: if something else is at ``out``, nothing can be written there, or the settings
            are impossible.
    """
    world.check()
    out = out.resolve()
    found = _settings_at(out)
    if found == asdict(world):
        return False
    if found == asdict(replace(world, version=_TEST_IN_VAL)) and not overwrite:
        _warn_of_test_in_val(out, world)
        return False
    check_place(out)
    if out.exists() and any(out.iterdir()):
        _check_replacement(out, found, world, overwrite)
    with whole_folder(out) as folder:
        _make_folders(folder, world.cameras)
        splits = world.splits()
        tables = common_rows(token_maker(world.seed), world.cameras)
        names = [name for split in splits.values() for name in split]
        for done, part in enumerate(_recorded(world, names, folder, workers), start=1):
            for table, rows in part.items():
                tables.setdefault(table, []).extend(rows)
            progress(done * world.keyframes, len(names) * world.keyframes)
        _write_tables(folder, tables, splits)
        (folder / "README.txt").write_text(README, encoding="ascii")
        _write_json(folder / SETTINGS_FILE, asdict(world))
    return True


def _settings_at(out: Path) -> Any:  # Any: whatever JSON is there
    """What the set at ``out`` was made with; None without a readable set."""
    try:
        return json.loads((out / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _warn_of_test_in_val(out: Path, world: World) -> None:
    if world.test_scenes:
        warnings.warn(
            f"{out} is used as it is, but an earlier kd3d gave its test scenes names of nuScenes' "
            "official split val: kd3d's own splits are right, the devkit's and MMDetection3D's val "
            f"has the test frames too. For those make it anew: python {_TOOL} --out {out}"
            f"{world.flags()} --force; points and boxes stay the same",
            stacklevel=3,
        )


def _check_replacement(out: Path, found: Any, world: World, overwrite: bool) -> None:
    """Raises UserError unless what is at ``out`` is a set that may go."""
    missing = not (out / SETTINGS_FILE).is_file()
    if missing or (isinstance(found, dict) and "keyframes" not in found):  # traffic scenes' own
        raise UserError(
            f"{out} is no set of this tool ({SETTINGS_FILE} is "
            f"{'missing' if missing else 'of another'}): not replaced; choose another --out"
        )
    if not overwrite:
        raise UserError(
            f"{out} holds another set: {_difference(found, world)}; delete the folder and run the "
            f"same command again, choose another --out, or replace it with python {_TOOL} "
            f"--out {out}{world.flags()} --force"
        )


def _difference(found: Any, world: World) -> str:  # Any: whatever JSON is there
    """The settings of a set that are not those of ``world``."""
    if not isinstance(found, dict):
        return f"its {SETTINGS_FILE} cannot be read"
    asked = asdict(world)
    keys = [key for key in {**found, **asked} if found.get(key) != asked.get(key)]
    return ", ".join(f"{key} {found.get(key)} (asked for {asked.get(key)})" for key in keys)


def _make_folders(folder: Path, cameras: bool) -> None:
    channels = [camera.channel for camera in CAMERAS] if cameras else []
    samples = [f"samples/{channel}" for channel in (LIDAR, *channels)]
    for name in (*samples, f"sweeps/{LIDAR}", "maps", VERSION, *(["coco"] if cameras else [])):
        (folder / name).mkdir(parents=True)


def _recorded(world: World, names: list[str], folder: Path, workers: int) -> Iterator[Tables]:
    """The rows of each scene, in the order of ``names``."""
    recordings = [
        Recording(
            world.seed,
            number,
            name,
            world.keyframes,
            world.sweeps,
            world.domain,
            world.cameras,
            world.lidar_range_m,
        )
        for number, name in enumerate(names)
    ]
    record = partial(record_scene, folder=folder)
    if min(workers, len(names)) < 2:
        yield from map(record, recordings)
        return
    # spawned, not forked: the caller may have threads
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        min(workers, len(names)), context, initializer=_end_silently_on_interrupt
    )
    try:
        yield from pool.map(record, recordings)
    except BrokenProcessPool:
        raise UserError(
            "a process that recorded scenes was ended from outside (Ctrl-C, or too little memory); "
            "run the same command again, with fewer --workers if memory was the reason"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _end_silently_on_interrupt() -> None:
    """Ctrl-C reaches all processes; only the parent has something to say and to clean up."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _write_tables(folder: Path, tables: Tables, splits: dict[str, list[str]]) -> None:
    for table in TABLES:
        _write_json(folder / VERSION / f"{table}.json", tables[table])
    custom = {f"synthetic_{split}": names for split, names in splits.items()}
    _write_json(folder / VERSION / "splits.json", custom)
    for split, names in splits.items():
        content = pickle.dumps(infos_of(tables, names), protocol=4)
        (folder / f"nuscenes_infos_{split}.pkl").write_bytes(content)
        if tables[COCO]:
            shown = [row for row in tables[COCO] if row["scene"] in names]
            write_coco(folder / "coco" / f"instances_{split}.json", shown)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, allow_nan=False), encoding="utf-8")
