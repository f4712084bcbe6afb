"""A recipe's work dir with invented figures on a random nuScenes data set, LiDAR files included."""

import json
from pathlib import Path

import numpy as np
from nuscenes_tables import CLASSES, CUSTOM, DataSet, random_data_set, random_results

from kd3d.report.record import Record

NDS = {  # role -> NDS of each seed
    "teacher": [52.0],
    "baseline": [30.0, 33.0],
    "control": [34.0, 35.0],
    "distilled": [41.0, 44.0],
}
ERRORS = {"mATE": 0.4, "mASE": 0.25, "mAOE": 0.6, "mAVE": 1.25, "mAAE": 0.2}


def write_clouds(data: DataSet, dataroot: Path, points: int = 400) -> None:
    """A random cloud for every LiDAR keyframe."""
    random = np.random.default_rng(0)
    for row in data.tables["sample_data"]:
        if row["is_key_frame"] and row["calibrated_sensor_token"] == "cs-lidar":
            cloud = random.normal(size=(points, 5)).astype(np.float32) * [15, 15, 1, 1, 1]
            path = dataroot / row["filename"]
            path.parent.mkdir(parents=True, exist_ok=True)
            cloud.astype(np.float32).tofile(path)


def curves(height: float) -> dict:
    """Precision falling from ``height`` in a straight line, at every class and distance."""
    recall = np.linspace(0, 1, 101)
    one = {"recall": recall.tolist(), "precision": (height * (1 - recall)).tolist()}
    return {name: dict.fromkeys(("0.5", "1", "2", "4"), one) for name in CLASSES}


def fabricate_nuscenes(root: Path, *, variant: bool = False) -> Path:
    """Writes data and records; the work dir is answered."""
    data = random_data_set(3, frames=6, objects=20)
    dataroot = data.write(root / "world")
    write_clouds(data, dataroot)
    tokens = data.tokens(CUSTOM["our_val"])
    values = {**NDS, **({"variant-heatmap": [38.0, 39.0]} if variant else {})}
    for key, scores in values.items():
        role = "distilled" if key.startswith("variant-") else key
        for seed, nds in enumerate(scores):
            name = key if key == "teacher" else f"{key}/seed{seed}"
            folder = root / "work" / name
            aps = {f"AP@{distance}": nds - 10 for distance in ("0.5", "1", "2", "4")}
            Record(
                kind="accuracy",
                role=role,
                name=name,
                metrics={"NDS": nds, "mAP": nds - 10, **ERRORS},
                per_class={
                    name: {"AP": nds - 10, **aps, "ATE": 0.4, "ASE": 0.25} for name in CLASSES
                },
                seed=None if key == "teacher" else seed,
                dataset={
                    "data_root": str(dataroot),
                    "version": data.version,
                    "split": "our_val",
                    "synthetic": "yes",
                },
                parameters=5_000_000 if key == "teacher" else 400_000,
                files={"predictions": "predictions.nuscenes.json", "curves": "curves.json"},
                conditions={"frames": len(tokens), "max_iters": 100},
            ).write(folder / "record-accuracy.json")
            results = random_results(data, tokens, seed=len(name) + seed)
            (folder / "predictions.nuscenes.json").write_text(json.dumps(results))
            (folder / "curves.json").write_text(json.dumps(curves(nds / 100)))
    return root / "work"
