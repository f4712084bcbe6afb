"""Small random nuScenes data sets with everything nasty in them, and predictions for them."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = {  # of a random annotation, with weights
    "vehicle.car": 6,
    "human.pedestrian.adult": 4,
    "human.pedestrian.child": 1,
    "vehicle.bus.bendy": 1,
    "vehicle.truck": 1,
    "vehicle.bicycle": 3,
    "vehicle.motorcycle": 2,
    "movable_object.barrier": 3,
    "movable_object.trafficcone": 2,
    "vehicle.trailer": 1,
    "vehicle.construction": 1,
    "static_object.bicycle_rack": 3,
    "animal": 1,
}
ATTRIBUTES = ["cycle.with_rider", "cycle.without_rider", "vehicle.moving", "vehicle.parked"]
ATTRIBUTES += ["pedestrian.moving", "pedestrian.standing"]
CLASSES = ["car", "truck", "bus", "trailer", "construction_vehicle", "pedestrian", "motorcycle"]
CLASSES += ["bicycle", "traffic_cone", "barrier"]
CLASS_OF_CATEGORY = {
    "vehicle.car": "car",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "vehicle.bus.bendy": "bus",
    "vehicle.truck": "truck",
    "vehicle.bicycle": "bicycle",
    "vehicle.motorcycle": "motorcycle",
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.trailer": "trailer",
    "vehicle.construction": "construction_vehicle",
}
# Two of mini_val's scenes, one of mini_train's; the custom split takes the first and the last.
SCENES = ["scene-0103", "scene-0061", "scene-0916"]
CUSTOM = {"our_val": ["scene-0103", "scene-0061", "scene-9999"]}


@dataclass
class DataSet:
    """The tables of a data set by name, and where they were written."""

    tables: dict[str, list[dict[str, Any]]]
    splits: dict[str, list[str]] = field(default_factory=lambda: dict(CUSTOM))
    version: str = "v1.0-mini"

    def write(self, dataroot: Path) -> Path:
        folder = dataroot / self.version
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in self.tables.items():
            (folder / f"{name}.json").write_text(json.dumps(rows, indent=0))
        (folder / "splits.json").write_text(json.dumps(self.splits))
        (dataroot / "maps").mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(dataroot / "maps" / "map.png")
        return dataroot

    def tokens(self, scenes: list[str]) -> list[str]:
        wanted = {scene["token"] for scene in self.tables["scene"] if scene["name"] in scenes}
        samples = self.tables["sample"]
        return [sample["token"] for sample in samples if sample["scene_token"] in wanted]

    def annotations(self, token: str) -> list[tuple[str, dict[str, Any]]]:
        """Category and row of each annotation of a sample."""
        categories = {row["token"]: row["name"] for row in self.tables["category"]}
        of_instance = {
            row["token"]: categories[row["category_token"]] for row in self.tables["instance"]
        }
        return [
            (of_instance[row["instance_token"]], row)
            for row in self.tables["sample_annotation"]
            if row["sample_token"] == token
        ]


def random_data_set(seed: int, *, frames: int = 4, objects: int = 12) -> DataSet:
    """Scenes with moving, doubled, unseen, far and racked objects; frames without any."""
    random = np.random.default_rng(seed)
    tables = _fixed_tables()
    for number, name in enumerate(SCENES):
        scene = {"token": f"{name}-token", "name": name, "log_token": "log", "nbr_samples": frames}
        tables["scene"].append(scene)
        ego_m = random.uniform(300, 2000, 3) * [1, 1, 0]
        # velocities span one step, of at most 1.5 s, or two
        step_s = random.choice([0.5, 1.4, 1.6])
        for frame in range(frames):
            timestamp = 1_532_402_927_647_951 + int(1e6 * (frame * step_s + 1000 * number))
            moved_m = np.array([3.0 * frame, 0.4, 0.0])
            _add_sample(tables, name, frame, ego_m + moved_m, timestamp, random)
        for instance in range(objects):
            _add_track(tables, name, instance, frames, ego_m, random)
    random.shuffle(tables["sample_annotation"])
    return DataSet(tables)


def _fixed_tables() -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("scene", "sample", "sample_data", "ego_pose", "instance")
    }
    tables["sample_annotation"] = []
    tables["category"] = [{"token": f"c-{name}", "name": name} for name in CATEGORIES]
    tables["attribute"] = [{"token": f"a-{name}", "name": name} for name in ATTRIBUTES]
    tables["visibility"] = [{"token": "1", "level": "v0-40"}]
    tables["sensor"] = [
        {"token": "s-cam", "channel": "CAM_FRONT", "modality": "camera"},
        {"token": "s-lidar", "channel": "LIDAR_TOP", "modality": "lidar"},
    ]
    tables["calibrated_sensor"] = [
        {
            "token": f"cs-{name}",
            "sensor_token": f"s-{name}",
            "translation": [0.985793, 0.0, 1.84019],
            "rotation": [0.706749235646644, -0.015300993788500868, 0.0173974518, -0.7070846669],
        }
        for name in ("cam", "lidar")
    ]
    tables["log"] = [{"token": "log", "logfile": "log"}]
    tables["map"] = [
        {"token": "map", "filename": "maps/map.png", "category": "x", "log_tokens": ["log"]}
    ]
    return tables


def _add_sample(
    tables: dict[str, list[dict[str, Any]]],
    scene: str,
    frame: int,
    ego_m: np.ndarray,
    timestamp: int,
    random: np.random.Generator,
) -> None:
    token = f"{scene}-{frame}"
    sample = {"token": token, "scene_token": f"{scene}-token", "timestamp": timestamp}
    tables["sample"].append({**sample, "prev": "", "next": ""})
    for sensor, is_key in (("lidar", True), ("cam", True), ("lidar", False)):
        data = f"{token}-{sensor}-{is_key}"
        shift_m = 0.0 if (sensor, is_key) == ("lidar", True) else 30.0  # only one counts
        yaw = random.uniform(-math.pi, math.pi)
        tables["ego_pose"].append(
            {
                "token": f"pose-{data}",
                "timestamp": timestamp,
                "translation": [float(ego_m[0] + shift_m), float(ego_m[1]), 0.0],
                "rotation": [math.cos(yaw / 2), 0.001, -0.002, math.sin(yaw / 2)],
            }
        )
        tables["sample_data"].append(
            {
                "token": data,
                "sample_token": token,
                "ego_pose_token": f"pose-{data}",
                "calibrated_sensor_token": f"cs-{sensor}",
                "is_key_frame": is_key,
                "timestamp": timestamp,
                "filename": f"samples/{data}",
                "prev": "",
                "next": "",
            }
        )


def _add_track(
    tables: dict[str, list[dict[str, Any]]],
    scene: str,
    number: int,
    frames: int,
    ego_m: np.ndarray,
    random: np.random.Generator,
) -> None:
    names = list(CATEGORIES)
    weights = np.array(list(CATEGORIES.values()), float)
    category = str(random.choice(names, p=weights / weights.sum()))
    instance = f"{scene}-i{number}"
    tables["instance"].append({"token": instance, "category_token": f"c-{category}"})
    reach_m = random.choice([3.0, 20.0, 60.0])  # near ones lie in each other and in racks
    start_m = ego_m + random.uniform(-reach_m, reach_m, 3) * [1, 1, 0.05]
    step_m = random.normal(size=3) * random.choice([0, 1.5])
    first, last = sorted(random.integers(0, frames, 2).tolist())
    first = max(first, 1)  # frame 0 is empty in every scene
    yaw = random.uniform(-math.pi, math.pi)
    rotation = [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]
    size_m = random.uniform(0.3, 4, 3).round(3).tolist()
    if category == "static_object.bicycle_rack":
        size_m = [6.0, 8.0, 3.0]
    visible = random.random() < 0.8
    attribute = [f"a-{random.choice(ATTRIBUTES)}"] if random.random() < 0.7 else []
    for frame in range(first, last + 1):
        row = {
            "token": f"{instance}-{frame}",
            "sample_token": f"{scene}-{frame}",
            "instance_token": instance,
            "attribute_tokens": attribute,
            "visibility_token": "1",
            "translation": (start_m + step_m * frame).round(3).tolist(),
            "size": size_m,
            "rotation": rotation,
            "num_lidar_pts": int(random.integers(1, 9)) if visible else 0,
            "num_radar_pts": int(random.random() < 0.2),
            "prev": f"{instance}-{frame - 1}" if frame > first else "",
            "next": f"{instance}-{frame + 1}" if frame < last else "",
        }
        tables["sample_annotation"].append(row)
        if random.random() < 0.2:  # an equal object at the same place
            twin = {**row, "token": row["token"] + "-twin", "prev": "", "next": ""}
            tables["sample_annotation"].append(twin)


def random_results(data: DataSet, tokens: list[str], seed: int) -> dict[str, Any]:
    """Predictions near the objects and elsewhere, with few different scores."""
    random = np.random.default_rng(seed)
    absent = str(random.choice(CLASSES))  # a class that is never predicted
    results = {}
    for token in random.permutation(tokens).tolist():
        boxes = [
            _perturbed(CLASS_OF_CATEGORY.get(category, "bicycle"), row, random)
            for category, row in data.annotations(token)
            for _ in range(random.integers(0, 3))
        ]
        results[token] = [box for box in boxes if box["detection_name"] != absent]
    return {"meta": {"use_lidar": True}, "results": results}


def _perturbed(name: str, row: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    spread_m = random.choice([0.0, 0.3, 1.0, 5.0])
    rotation = np.array(row["rotation"]) + random.normal(size=4) * random.choice([0, 0.05, 1])
    velocity = random.normal(size=2).tolist() if random.random() < 0.9 else [math.nan, math.nan]
    box = {
        "sample_token": row["sample_token"],
        "translation": (np.array(row["translation"]) + random.normal(size=3) * spread_m).tolist(),
        "size": (np.array(row["size"]) * random.choice([1, 0.8, 1.3])).tolist(),
        "rotation": rotation.tolist(),
        "velocity": velocity,
        "detection_name": str(random.choice(CLASSES)) if random.random() < 0.1 else name,
        "detection_score": float(random.integers(0, 8)) / 7,
        "attribute_name": str(random.choice([*ATTRIBUTES, ""])),
    }
    if random.random() < 0.05:
        box["num_pts"] = int(random.integers(0, 2))
    return box


def devkit_answer(dataroot: Path, version: str, split: str, results: Path) -> tuple[Any, Any]:
    """``(metrics, curves)`` of the devkit's own evaluation, from its own database."""
    from nuscenes import NuScenes
    from nuscenes.eval.detection.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    evaluation = DetectionEval(
        NuScenes(version, str(dataroot), verbose=False),
        config_factory("detection_cvpr_2019"),
        str(results),
        split,
        str(results.parent / "devkit"),
        verbose=False,
    )
    return evaluation.evaluate()
