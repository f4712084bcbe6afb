"""Drives through one scene: writes its sensor files and gives the rows of its tables."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.annotate import Frame, annotation_rows
from kd3d.datasets.synthetic.nuscenes.build import build_scene
from kd3d.datasets.synthetic.nuscenes.cameras import CAMERAS, HEIGHT_PX, WIDTH_PX
from kd3d.datasets.synthetic.nuscenes.coco import COCO, image_row
from kd3d.datasets.synthetic.nuscenes.lidar import WEATHER, Sweep, scan
from kd3d.datasets.synthetic.nuscenes.maps import write_map
from kd3d.datasets.synthetic.nuscenes.scene import Scene
from kd3d.datasets.synthetic.nuscenes.tables import (
    LIDAR,
    Row,
    Tables,
    Token,
    calibration_rows,
    linked,
    quaternion,
    token_maker,
)

KEYFRAME_S = 0.5
SWEEP_S = 0.05
EPOCH_US = 1_577_880_000_000_000  # 1 January 2020, noon
SCENE_US = 60_000_000  # from the start of one scene to the next


@dataclass(frozen=True)
class Recording:
    """What to record of a scene.

    Attributes:
        seed: of the set.
        number: of the scene in the set; with the seed it decides everything.
        name: nuScenes' scene name.
        keyframes: at 2 Hz.
        sweeps: LiDAR turns at 20 Hz before each keyframe, at most 9.
        domain: "day" or "night".
        cameras: whether to render the six cameras.
        lidar_range_m: how far the LiDAR sees.
    """

    seed: int
    number: int
    name: str
    keyframes: int
    sweeps: int
    domain: str
    cameras: bool
    lidar_range_m: float

    @property
    def token(self) -> Token:
        """Makes the tokens of the set."""
        return token_maker(self.seed)

    @property
    def logfile(self) -> str:
        """Name of the log, the first part of file names."""
        return f"synthetic-s{self.seed}-{self.name}"

    def time_us(self, time_s: float) -> int:
        """Time stamp of a moment of the scene."""
        return EPOCH_US + self.number * SCENE_US + round(time_s * 1e6)

    def sample(self, keyframe: int) -> str:
        """Token of a keyframe."""
        return self.token(f"{self.name} sample {keyframe}")


def record_scene(recording: Recording, folder: Path) -> Tables:
    """Writes the files of one scene below ``folder``.

    Returns:
        Its rows of the tables "log", "map", "scene", "sample", "sample_data", "ego_pose",
        "calibrated_sensor", "sample_annotation" and "instance", and of ``coco.COCO``.
    """
    duration_s = recording.keyframes * KEYFRAME_S
    scene = build_scene([recording.seed, recording.number], duration_s, recording.domain)
    write_map(folder / "maps" / f"{recording.logfile}.png", scene.ground)
    pictures = _Pictures(recording, scene, folder) if recording.cameras else None
    turns: list[Row] = []
    frames: list[Frame] = []
    for keyframe in range(recording.keyframes):
        time_s = keyframe * KEYFRAME_S
        for back in range(recording.sweeps, 0, -1):
            before_s = time_s - back * SWEEP_S
            _write_turn(recording, scene, before_s, folder, turns, keyframe, is_key_frame=False)
        sweep = _write_turn(recording, scene, time_s, folder, turns, keyframe, is_key_frame=True)
        seen_share = sweep.seen / np.maximum(sweep.possible, 1)
        if pictures:
            seen_share = pictures.take(keyframe, time_s)
        frames.append(Frame(time_s, sweep, seen_share))
    data = linked(turns)
    for rows in pictures.rows.values() if pictures else ():
        data += linked(rows)
    tables = _scene_rows(recording)
    tables["sample_data"] = data
    tables["ego_pose"] = [_pose_row(recording, scene, row) for row in data]
    samples = [row["token"] for row in tables["sample"]]
    rows, instances = annotation_rows(scene, frames, samples, recording.name, recording.token)
    tables["sample_annotation"], tables["instance"] = rows, instances
    tables[COCO] = pictures.coco if pictures else []
    return tables


def _write_turn(
    recording: Recording,
    scene: Scene,
    time_s: float,
    folder: Path,
    rows: list[Row],
    keyframe: int,
    *,
    is_key_frame: bool,
) -> Sweep:
    """One turn of the LiDAR: writes its file and adds its row."""
    stamp = recording.time_us(time_s)
    noise = np.random.SeedSequence([recording.seed, recording.number, stamp])
    sweep = scan(
        scene.solids(time_s),
        scene.ground,
        scene.ego_pose(time_s),
        WEATHER[recording.domain],
        len(scene.actors),
        int(noise.generate_state(1)[0]),
        reach_m=recording.lidar_range_m,
    )
    row = _data_row(recording, LIDAR, keyframe, stamp, is_key_frame=is_key_frame)
    sweep.points.tofile(folder / row["filename"])
    rows.append(row)
    return sweep


def _data_row(
    recording: Recording, channel: str, keyframe: int, stamp: int, *, is_key_frame: bool
) -> Row:
    """A row of ``sample_data`` without its links."""
    lidar = channel == LIDAR
    place = f"{'samples' if is_key_frame else 'sweeps'}/{channel}"
    token = recording.token(f"{recording.name} {channel} {stamp}")
    return {
        "token": token,
        "sample_token": recording.sample(keyframe),
        "ego_pose_token": token,
        "calibrated_sensor_token": recording.token(f"{recording.name} {channel}"),
        "timestamp": stamp,
        "fileformat": "pcd" if lidar else "jpg",
        "is_key_frame": is_key_frame,
        "height": 0 if lidar else HEIGHT_PX,
        "width": 0 if lidar else WIDTH_PX,
        "filename": f"{place}/{recording.logfile}__{channel}__{stamp}"
        + (".pcd.bin" if lidar else ".jpg"),
    }


class _Pictures:
    """The six cameras of a drive: writes their images and keeps the rows by channel."""

    def __init__(self, recording: Recording, scene: Scene, folder: Path) -> None:
        # imported here: compiling the renderer takes time that LiDAR-only sets do not need
        from kd3d.datasets.synthetic.nuscenes.photographs import Photographer

        seed = np.random.SeedSequence([recording.seed, recording.number, len(CAMERAS)])
        self._recording, self._folder = recording, folder
        self._photographer = Photographer(scene, int(seed.generate_state(1)[0] >> 2))
        self._actors = scene.actors
        self.rows: dict[str, list[Row]] = {camera.channel: [] for camera in CAMERAS}
        self.coco: list[Row] = []

    def take(self, keyframe: int, time_s: float) -> NDArray[np.float64]:
        """Writes the six images of a keyframe; the share of each actor's pixels that show."""
        from kd3d.datasets.synthetic.nuscenes.photographs import visibility_of

        photographs = self._photographer.keyframe(time_s)
        stamp = self._recording.time_us(time_s)
        for photograph in photographs:
            channel = photograph.channel
            row = _data_row(self._recording, channel, keyframe, stamp, is_key_frame=True)
            (self._folder / row["filename"]).write_bytes(photograph.jpeg)
            self.rows[channel].append(row)
            boxes = image_row(row["filename"], row["token"], photograph, self._actors)
            self.coco.append({"scene": self._recording.name, **boxes})
        return visibility_of(photographs)


def _pose_row(recording: Recording, scene: Scene, data: Row) -> Row:
    pose = scene.ego_pose((data["timestamp"] - recording.time_us(0.0)) / 1e6)
    return {
        "token": data["ego_pose_token"],
        "timestamp": data["timestamp"],
        "rotation": quaternion(pose.yaw),
        "translation": [pose.x_m, pose.y_m, 0.0],
    }


def _scene_rows(recording: Recording) -> Tables:
    token, name = recording.token, recording.name
    stamps = [recording.time_us(k * KEYFRAME_S) for k in range(recording.keyframes)]
    samples = [
        {"token": recording.sample(k), "timestamp": stamp, "scene_token": token(name)}
        for k, stamp in enumerate(stamps)
    ]
    log = token(f"{name} log")
    day = datetime.datetime.fromtimestamp(stamps[0] / 1e6, tz=datetime.timezone.utc)
    return {
        "sample": linked(samples),
        "scene": [
            {
                "token": token(name),
                "log_token": log,
                "nbr_samples": len(samples),
                "first_sample_token": samples[0]["token"],
                "last_sample_token": samples[-1]["token"],
                "name": name,
                "description": f"Synthetic, made by kd3d: {recording.domain}, seed "
                f"{recording.seed}, scene {recording.number}",
            }
        ],
        "log": [
            {
                "token": log,
                "logfile": recording.logfile,
                "vehicle": "synthetic",
                "date_captured": day.date().isoformat(),
                "location": "synthetic-town",
            }
        ],
        "map": [
            {
                "category": "semantic_prior",
                "token": token(f"{name} map"),
                "filename": f"maps/{recording.logfile}.png",
                "log_tokens": [log],
            }
        ],
        "calibrated_sensor": calibration_rows(token, name, recording.cameras),
    }
