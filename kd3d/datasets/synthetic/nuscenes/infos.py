"""What mmdet3d's NuScenesDataset reads: infos of format 1.1, straight from the tables.

The same numbers as mmdet3d's own converter gives (create_nuscenes_infos, then
update_nuscenes_infos), without a database load and with paths relative to the set.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.camera_infos import camera_instance
from kd3d.datasets.synthetic.nuscenes.cameras import CAMERAS
from kd3d.datasets.synthetic.nuscenes.catalogue import CLASSES
from kd3d.datasets.synthetic.nuscenes.tables import LIDAR, VERSION, Row, Tables

CLASS_NAMES = (
    "car",
    "truck",
    "trailer",
    "bus",
    "construction_vehicle",
    "bicycle",
    "motorcycle",
    "pedestrian",
    "traffic_cone",
    "barrier",
)
MAX_SWEEPS = 10  # earlier turns listed with a keyframe
SPEED_SPAN_S = 1.5  # the devkit's box_velocity gives none across more time, both sides double that
Info = dict[str, Any]  # Any: mmdet3d's fields differ in type
Array = NDArray[np.float64]


def transform(rotation: list[float], translation: list[float]) -> Array:
    """(4, 4) matrix of a unit quaternion (w, x, y, z) and a translation."""
    w, x, y, z = rotation
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = translation
    return matrix


def infos_of(tables: Tables, scene_names: list[str]) -> Info:
    """The content of ``nuscenes_infos_<split>.pkl``.

    Args:
        tables: of the whole set.
        scene_names: of the split.
    """
    database = _Database(tables)
    chosen = {row["token"] for row in tables["scene"] if row["name"] in scene_names}
    samples = [row for row in tables["sample"] if row["scene_token"] in chosen]
    data_list = [database.info(place, sample) for place, sample in enumerate(samples)]
    categories = {name: place for place, name in enumerate(CLASS_NAMES)}
    unscored = {row["name"] for row in tables["category"]} - CLASSES.keys()
    met = {
        name
        for sample in samples
        for name in map(database.name_of, database.annotations.get(sample["token"], []))
        if name in unscored
    }
    return {
        "metainfo": {
            "categories": categories | dict.fromkeys(sorted(met), -1),
            "dataset": "nuscenes",
            "version": VERSION,
            "info_version": "1.1",
        },
        "data_list": data_list,
    }


class _Database:
    """The tables by token."""

    def __init__(self, tables: Tables) -> None:
        def by_token(table: str) -> dict[str, Row]:
            return {row["token"]: row for row in tables[table]}

        self.data = by_token("sample_data")
        self.poses = by_token("ego_pose")
        self.mounts = by_token("calibrated_sensor")
        self.rows = by_token("sample_annotation")
        categories = {row["token"]: row["name"] for row in tables["category"]}
        self.category = {
            row["token"]: categories[row["category_token"]] for row in tables["instance"]
        }
        self.stamps = {row["token"]: row["timestamp"] for row in tables["sample"]}
        channels = {row["token"]: row["channel"] for row in tables["sensor"]}
        self.keyframes: dict[str, dict[str, Row]] = {}
        for row in tables["sample_data"]:
            if row["is_key_frame"]:
                mount = self.mounts[row["calibrated_sensor_token"]]
                channel = channels[mount["sensor_token"]]
                self.keyframes.setdefault(row["sample_token"], {})[channel] = row
        self.attributes = {row["token"]: row["name"] for row in tables["attribute"]}
        self.annotations: dict[str, list[Row]] = {}
        for row in tables["sample_annotation"]:
            self.annotations.setdefault(row["sample_token"], []).append(row)

    def name_of(self, annotation: Row) -> str:
        """Category of an annotation."""
        name: str = self.category[annotation["instance_token"]]
        return name

    def ego2global(self, data: Row) -> Array:
        """(4, 4) pose of the vehicle when ``data`` was taken."""
        pose = self.poses[data["ego_pose_token"]]
        return transform(pose["rotation"], pose["translation"])

    def sensor2ego(self, data: Row) -> Array:
        """(4, 4) mount of the sensor that took ``data``."""
        mount = self.mounts[data["calibrated_sensor_token"]]
        return transform(mount["rotation"], mount["translation"])

    def info(self, place: int, sample: Row) -> Info:
        """One entry of ``data_list``."""
        data = self.keyframes[sample["token"]][LIDAR]
        lidar2ego, ego2global = self.sensor2ego(data), self.ego2global(data)
        global2lidar = np.linalg.inv(ego2global @ lidar2ego)
        info: Info = {
            "sample_idx": place,
            "token": sample["token"],
            "timestamp": sample["timestamp"] / 1e6,
            "ego2global": ego2global.tolist(),
            "lidar_points": {
                "num_pts_feats": 5,
                "lidar_path": data["filename"].rsplit("/", 1)[-1],
                "lidar2ego": lidar2ego.tolist(),
            },
            "instances": [
                self._instance(row, global2lidar)
                for row in self.annotations.get(sample["token"], [])
            ],
        }
        sweeps = self._sweeps(data, global2lidar)
        if sweeps:
            info["lidar_sweeps"] = sweeps
        cameras = {
            camera.channel: self.keyframes[sample["token"]][camera.channel]
            for camera in CAMERAS
            if camera.channel in self.keyframes[sample["token"]]
        }
        if cameras:
            info["images"] = {
                channel: self._image(row, global2lidar) for channel, row in cameras.items()
            }
            info["cam_instances"] = {
                channel: self._camera_instances(row) for channel, row in cameras.items()
            }
        return info

    def _image(self, data: Row, global2lidar: Array) -> Info:
        cam2ego = self.sensor2ego(data)
        cam2lidar = global2lidar @ self.ego2global(data) @ cam2ego
        return {
            "img_path": data["filename"].rsplit("/", 1)[-1],
            "cam2img": self.mounts[data["calibrated_sensor_token"]]["camera_intrinsic"],
            "sample_data_token": data["token"],
            "timestamp": data["timestamp"] / 1e6,
            "cam2ego": cam2ego.tolist(),
            "lidar2cam": np.linalg.inv(cam2lidar).astype(np.float32).tolist(),
        }

    def _camera_instances(self, data: Row) -> list[Info]:
        global2cam = np.linalg.inv(self.ego2global(data) @ self.sensor2ego(data))
        intrinsic = np.array(self.mounts[data["calibrated_sensor_token"]]["camera_intrinsic"])
        instances = []
        for row in self.annotations.get(data["sample_token"], []):
            name = CLASSES.get(self.name_of(row))
            if name is None:
                continue
            width, length, height = row["size"]
            instance = camera_instance(
                global2cam @ transform(row["rotation"], row["translation"]),
                np.array([length, width, height]),
                global2cam[:3, :3] @ np.array([*self._velocity(row), 0.0]),
                intrinsic,
                CLASS_NAMES.index(name),
                self.attributes[row["attribute_tokens"][0]] if row["attribute_tokens"] else None,
            )
            if instance is not None:
                instances.append(instance)
        return instances

    def _sweeps(self, data: Row, global2lidar: Array) -> list[Info]:
        """Earlier turns, the latest first."""
        sweeps: list[Info] = []
        while data["prev"] and len(sweeps) < MAX_SWEEPS:
            data = self.data[data["prev"]]
            lidar2ego, ego2global = self.sensor2ego(data), self.ego2global(data)
            sensor2lidar = global2lidar @ ego2global @ lidar2ego
            points = {
                "num_pts_feats": None,  # as mmdet3d leaves it
                "lidar_path": data["filename"],
                "lidar2ego": lidar2ego.tolist(),
                "lidar2sensor": np.linalg.inv(sensor2lidar).astype(np.float32).tolist(),
            }
            sweeps.append(
                {
                    "timestamp": data["timestamp"] / 1e6,
                    "ego2global": ego2global.tolist(),
                    "lidar_points": points,
                    "sample_data_token": data["token"],
                }
            )
        return sweeps

    def _instance(self, row: Row, global2lidar: Array) -> Info:
        width, length, height = row["size"]
        box2lidar = global2lidar @ transform(row["rotation"], row["translation"])
        yaw = float(np.arctan2(box2lidar[1, 0], box2lidar[0, 0]))
        name = CLASSES.get(self.name_of(row))
        label = CLASS_NAMES.index(name) if name else -1
        velocity = global2lidar[:2, :3] @ np.array([*self._velocity(row), 0.0])
        return {
            "bbox_label": label,
            "bbox_3d": [*box2lidar[:3, 3].tolist(), length, width, height, yaw],
            "bbox_3d_isvalid": row["num_lidar_pts"] + row["num_radar_pts"] > 0,
            "bbox_label_3d": label,
            "num_lidar_pts": row["num_lidar_pts"],
            "num_radar_pts": row["num_radar_pts"],
            "velocity": velocity.tolist(),
        }

    def _velocity(self, row: Row) -> Array:
        """(2,) m/s in the global frame between the neighbours in time; NaN without any."""
        first, last = self.rows.get(row["prev"], row), self.rows.get(row["next"], row)
        span_s = (self.stamps[last["sample_token"]] - self.stamps[first["sample_token"]]) / 1e6
        both = first is not row and last is not row
        if span_s == 0.0 or span_s > SPEED_SPAN_S * (2 if both else 1):
            return np.full(2, np.nan)
        moved: Array = np.array(last["translation"][:2]) - first["translation"][:2]
        velocity: Array = moved / span_s
        return velocity
