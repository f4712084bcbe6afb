"""Drives through one scene: writes its sensor files and gives the rows of its tables."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kd3d.datasets.synthetic.nuscenes.annotate import Frame, annotation_rows
from kd3d.datasets.synthetic.nuscenes.build import build_scene
from kd3d.datasets.synthetic.nuscenes.lidar import WEATHER, scan
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
    """

    seed: int
    number: int
    name: str
    keyframes: int
    sweeps: int
    domain: str
    cameras: bool

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
        "calibrated_sensor", "sample_annotation" and "instance".
    """
    duration_s = recording.keyframes * KEYFRAME_S
    scene = build_scene([recording.seed, recording.number], duration_s, recording.domain)
    write_map(folder / "maps" / f"{recording.logfile}.png", scene.ground)
    data: list[Row] = []
    poses: list[Row] = []
    frames: list[Frame] = []
    for keyframe in range(recording.keyframes):
        time_s = keyframe * KEYFRAME_S
        for back in range(recording.sweeps, -1, -1):
            frame, row = _turn(recording, scene, keyframe, time_s - back * SWEEP_S, back, folder)
            data.append(row)
            poses.append(_pose_row(scene, time_s - back * SWEEP_S, row))
            if back == 0:
                frames.append(frame)
    annotations, instances = annotation_rows(
        scene, frames, [recording.sample(k) for k in range(recording.keyframes)], recording
    )
    tables = _scene_rows(recording)
    tables["sample_data"], tables["ego_pose"] = linked(data), poses
    tables["sample_annotation"], tables["instance"] = annotations, instances
    return tables


def _turn(
    recording: Recording, scene: Scene, keyframe: int, time_s: float, back: int, folder: Path
) -> tuple[Frame, Row]:
    """One turn of the LiDAR: writes its file."""
    noise_seed = np.random.SeedSequence([recording.seed, recording.number, keyframe, back])
    sweep = scan(
        scene.solids(time_s),
        scene.ground,
        scene.ego_pose(time_s),
        WEATHER[recording.domain],
        len(scene.actors),
        int(noise_seed.generate_state(1)[0]),
    )
    stamp = recording.time_us(time_s)
    name = (
        f"{'sweeps' if back else 'samples'}/{LIDAR}/{recording.logfile}__{LIDAR}__{stamp}.pcd.bin"
    )
    sweep.points.tofile(folder / name)
    row = {
        "token": recording.token(f"{recording.name} {LIDAR} {stamp}"),
        "sample_token": recording.sample(keyframe),
        "ego_pose_token": recording.token(f"{recording.name} {LIDAR} {stamp}"),
        "calibrated_sensor_token": recording.token(f"{recording.name} {LIDAR}"),
        "timestamp": stamp,
        "fileformat": "pcd",
        "is_key_frame": back == 0,
        "height": 0,
        "width": 0,
        "filename": name,
    }
    return Frame(time_s, sweep), row


def _pose_row(scene: Scene, time_s: float, data: Row) -> Row:
    pose = scene.ego_pose(time_s)
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
