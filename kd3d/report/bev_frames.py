"""Keyframes of a nuScenes split seen from above: points, objects, and each model's boxes.

Everything comes from the tables, the LiDAR files and the results files (JSON); nothing is
unpickled, and the devkit's database is not loaded.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kd3d.errors import UserError
from kd3d.report.summary import PICTURED_ROLES, Summary

if TYPE_CHECKING:
    from kd3d.evaluation.nuscenes.boxes import Boxes, GroundTruth

MAX_FRAMES = 4
MIN_SCORE = 0.3
_POINT_FLOATS = 5  # of a .pcd.bin file: x y z intensity ring
_LIDAR = "LIDAR_TOP"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BevBoxes:
    """M boxes in the LiDAR's frame: x to the right, y ahead, in metres.

    Attributes:
        corners_m: (M, 4, 2) front left, front right, rear right, rear left.
        label: (M,) index into ``kd3d.evaluation.nuscenes.CLASSES``.
        score: (M,) of predictions; -1 for objects.
    """

    corners_m: Floats
    label: NDArray[np.int64]
    score: Floats

    @property
    def center_m(self) -> Floats:
        """(M, 2)."""
        center: Floats = self.corners_m.mean(axis=1)
        return center


@dataclass(frozen=True)
class BevFrame:
    """One keyframe.

    Attributes:
        title: the scene and the frame's number in the split.
        points_m: (P, 2) of the LiDAR; empty where its file is not here.
        objects: ground truth that counts for the score.
        found: role -> its boxes that count, with a score of at least ``MIN_SCORE``.
    """

    title: str
    points_m: NDArray[np.float32]
    objects: BevBoxes
    found: Mapping[str, BevBoxes]


def bev_frames(summary: Summary) -> tuple[list[BevFrame], str]:
    """Up to ``MAX_FRAMES`` keyframes: the middle ones of that many equal parts of the split.

    Returns:
        (frames, "") or ([], what is missing).
    """
    groups = [summary.groups[role] for role in PICTURED_ROLES if role in summary.groups]
    found = {group.role: group.first_predictions() for group in groups}
    files = {role: path for role, path in found.items() if path is not None}
    if not files:
        return [], (
            "No predictions lie beside the accuracy records; tools/test.py CONFIG CHECKPOINT "
            "writes them."
        )
    dataset = next(iter(groups[0].runs.values())).dataset
    try:
        return _read(dataset, files), ""
    except (UserError, OSError) as error:
        return [], f"The data set is not here, so no frame is shown: {error}"


def match(objects: BevBoxes, boxes: BevBoxes, limit_m: float = 2.0) -> NDArray[np.int64]:
    """The object each box takes, as nuScenes matches within one frame; -1 for none.

    The highest score first, each takes the nearest free object of its class whose centre is
    nearer than ``limit_m``.

    Returns:
        (M,) indices into ``objects``.
    """
    taken = np.full(len(boxes.score), -1)
    free = np.ones(len(objects.score), dtype=bool)
    for number in np.argsort(-boxes.score, kind="stable"):
        distance_m = np.linalg.norm(objects.center_m - boxes.center_m[number], axis=1)
        distance_m[~free | (objects.label != boxes.label[number])] = np.inf
        if len(distance_m) and distance_m.min() < limit_m:
            taken[number] = int(distance_m.argmin())
            free[taken[number]] = False
    return taken


def _read(dataset: Mapping[str, str], files: Mapping[str, Path]) -> list[BevFrame]:
    from kd3d.evaluation.nuscenes.cache import load_ground_truth

    root, version = Path(dataset["data_root"]), dataset["version"]
    truth = load_ground_truth(root, version, dataset["split"])
    F = len(truth.tokens)
    chosen = sorted({(2 * part + 1) * F // (2 * MAX_FRAMES) for part in range(MAX_FRAMES)})
    lidars = _lidars(root / version, [truth.tokens[frame] for frame in chosen])
    objects = _counting(truth.boxes, truth)
    found = {role: _counting(_boxes_of(path, truth, chosen), truth) for role, path in files.items()}
    return [
        BevFrame(
            title=f"{lidars[truth.tokens[frame]].scene}, frame {frame + 1} of {F}",
            points_m=_points(root / lidars[truth.tokens[frame]].filename),
            objects=lidars[truth.tokens[frame]].see(objects[objects.frame == frame]),
            found={
                role: lidars[truth.tokens[frame]].see(boxes[boxes.frame == frame])
                for role, boxes in found.items()
            },
        )
        for frame in chosen
    ]


def _counting(boxes: "Boxes", truth: "GroundTruth") -> "Boxes":
    from kd3d.evaluation.nuscenes.filters import counting
    from kd3d.evaluation.nuscenes.protocol import CVPR_2019

    return boxes[counting(boxes, truth, CVPR_2019)]


@dataclass(frozen=True)
class Lidar:
    """Where the LiDAR was when it took a keyframe."""

    scene: str
    filename: str
    ego: Mapping[str, Any]  # Any: parsed JSON; with a translation and a rotation
    sensor: Mapping[str, Any]

    def see(self, boxes: "Boxes") -> BevBoxes:
        """Boxes of the global frame, in the LiDAR's."""
        from kd3d.evaluation.nuscenes.rotations import rotation_matrices

        half = boxes.size_m[:, [1, 0]] / 2  # along the heading, across it
        signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
        flat = half[:, None, :] * signs  # (M, 4, 2)
        turn = rotation_matrices(boxes.rotation)[:, None, :, :2]  # (M, 1, 3, 2)
        corners = (turn @ flat[..., None])[..., 0] + boxes.center_m[:, None, :]
        for frame in (self.ego, self.sensor):
            rotation = rotation_matrices(np.array([frame["rotation"]], dtype=np.float64))[0]
            corners = (corners - np.array(frame["translation"])) @ rotation  # R^T (x - t)
        return BevBoxes(corners[..., :2], boxes.label, boxes.score)


def _lidars(folder: Path, tokens: Sequence[str]) -> dict[str, Lidar]:
    from kd3d.evaluation.nuscenes.table_rows import table_rows

    scenes = {row["token"]: row["name"] for row in table_rows(folder, "scene")}
    scene_of = {row["token"]: scenes[row["scene_token"]] for row in table_rows(folder, "sample")}
    channels = {row["token"]: row["channel"] for row in table_rows(folder, "sensor")}
    sensors = {
        row["token"]: row
        for row in table_rows(folder, "calibrated_sensor")
        if channels[row["sensor_token"]] == _LIDAR
    }
    rows: dict[str, Mapping[str, Any]] = {}
    for row in table_rows(folder, "sample_data"):
        by_lidar = row["is_key_frame"] and row["calibrated_sensor_token"] in sensors
        if by_lidar and row["sample_token"] in tokens:
            rows[row["sample_token"]] = row
            if len(rows) == len(tokens):
                break  # the full data set has millions
    wanted = {row["ego_pose_token"] for row in rows.values()}
    poses = {row["token"]: row for row in table_rows(folder, "ego_pose") if row["token"] in wanted}
    return {
        token: Lidar(
            scene_of[token],
            row["filename"],
            poses[row["ego_pose_token"]],
            sensors[row["calibrated_sensor_token"]],
        )
        for token, row in rows.items()
    }


def _boxes_of(path: Path, truth: "GroundTruth", chosen: Sequence[int]) -> "Boxes":
    """The boxes of some frames of a results file, without the uncertain ones."""
    from kd3d.evaluation.nuscenes.boxes import Boxes
    from kd3d.evaluation.nuscenes.protocol import CLASSES

    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    rows = [
        (frame, box)
        for frame in chosen
        for box in results.get(truth.tokens[frame], [])
        if box["detection_score"] >= MIN_SCORE
    ]
    boxes = [box for _, box in rows]
    return Boxes.of(
        {
            "frame": [frame for frame, _ in rows],
            "label": [CLASSES.index(box["detection_name"]) for box in boxes],
            "center_m": [box["translation"] for box in boxes],
            "size_m": [box["size"] for box in boxes],
            "rotation": [box["rotation"] for box in boxes],
            "velocity": [box["velocity"] for box in boxes],
            "score": [box["detection_score"] for box in boxes],
            "attribute": [-1] * len(boxes),
            "points": [-1] * len(boxes),
        }
    )


def _points(path: Path) -> NDArray[np.float32]:
    if not path.is_file():
        return np.zeros((0, 2), dtype=np.float32)
    points: NDArray[np.float32] = np.fromfile(path, dtype=np.float32)
    whole = len(points) // _POINT_FLOATS * _POINT_FLOATS
    return points[:whole].reshape(-1, _POINT_FLOATS)[:, :2]
