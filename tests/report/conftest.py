"""A recipe's work dir with invented figures: nothing in it was measured."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from kd3d.report.record import Record

CLASSES = ("car", "person", "bicycle")
AP = {  # role -> AP of each seed
    "teacher": [40.0],
    "baseline": [20.0, 24.0, 22.0],
    "control": [24.0, 25.0, 26.0],
    "distilled": [30.0, 32.0, 31.0],
}
SEEDLESS = ("teacher",)


def accuracy(role: str, seed: int | None, ap: float, root: Path, **changes) -> Record:
    values = {
        "kind": "accuracy",
        "role": role,
        "name": role if seed is None else f"{role}/seed{seed}",
        "metrics": {"AP": ap, "AP50": ap + 20, "AP75": ap - 5},
        "per_class": {name: {"AP": ap + 6 - 6 * n} for n, name in enumerate(CLASSES)},
        "seed": seed,
        "config": f"configs/{role}.py",
        "config_hash": "0123456789ab",
        "dataset": {
            "ann_file": str(root / "data" / "test.json"),
            "img_prefix": str(root / "data"),
            "split": "test",
        },
        "parameters": 11_000_000 if role == "teacher" else 1_234_567,
        "files": {"predictions": "predictions.bbox.json"},
        "environment": {"cpu": "a CPU <that> was invented", "python": "3.11", "gpu": ""},
        "conditions": {"images": 8, "max_epochs": 12, "input": "320x192"},
    }
    return Record(**{**values, **changes})


def write_data(folder: Path, images: int = 8) -> list[dict]:
    """Plain pictures of coloured boxes with COCO annotations, which are answered."""
    folder.mkdir(parents=True)
    boxes = []
    for image_id in range(images):
        picture = Image.new("RGB", (320, 192), (96, 128 + 8 * image_id, 160))
        draw = ImageDraw.Draw(picture)
        for n in range(3):
            x, y, width, height = 20 + 95 * n + 5 * image_id, 70 + 20 * n, 60, 40 + 10 * n
            draw.rectangle((x, y, x + width, y + height), fill=(60 + 60 * n, 40, 90))
            box = {"id": len(boxes) + 1, "image_id": image_id, "category_id": n + 1, "iscrowd": 0}
            boxes.append({**box, "bbox": [x, y, width, height], "area": width * height})
        picture.save(folder / f"{image_id}.jpg")
    truth = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(images)],
        "categories": [{"id": n + 1, "name": name} for n, name in enumerate(CLASSES)],
        "annotations": boxes,
    }
    (folder / "test.json").write_text(json.dumps(truth))
    return boxes


def write_log(folder: Path, role: str, seed: int) -> None:
    """As MMEngine's LoggerHook leaves it: one JSON object a line."""
    log = folder / "20260101_000000" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    lines = []
    for step in range(50, 1001, 50):
        decay = math.exp(-step / 400) + 0.03 * math.sin(step * (seed + 1))
        entry = {"lr": 0.01, "loss_cls": 1.2 * decay + 0.3, "loss_bbox": 0.8 * decay + 0.2}
        if role == "distilled":
            entry |= {"loss_neck": 2.0 * decay, "loss_response": 0.6 * decay + 0.1}
        lines.append({**entry, "loss": sum(entry.values()), "iter": step, "step": step})
    lines.append({"coco/bbox_mAP": 0.2, "step": 1})  # a validation
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))


def training(role: str, seed: int) -> Record:
    metrics = {"iterations": 1000, "seconds_per_iter": 0.2, "peak_memory_mb": 900.0}
    if role == "distilled":
        metrics |= {"seconds_per_iter": 0.24 + 0.01 * seed}
        metrics |= {"gradient_share/neck": 0.3, "gradient_share/response": 0.1}
    name = f"{role}/seed{seed}"
    return Record(kind="training", role=role, name=name, seed=seed, metrics=metrics)


def fabricate(root: Path, roles: tuple[str, ...] = tuple(AP)) -> Path:
    """The work dir of a whole recipe, with the roles asked for."""
    boxes = write_data(root / "data")
    work = root / "work"
    for role in roles:
        for number, ap in enumerate(AP[role]):
            seed = None if role in SEEDLESS else number
            folder = work / (role if seed is None else f"{role}/seed{seed}")
            accuracy(role, seed, ap, root).write(folder / "record-accuracy.json")
            missing = {"teacher": 11, "baseline": 3, "control": 4, "distilled": 6}[role]
            found = [
                {"image_id": b["image_id"], "category_id": b["category_id"], "score": 0.9}
                | {"bbox": [b["bbox"][0] + 4, *b["bbox"][1:]]}
                for n, b in enumerate(boxes)
                if n % missing
            ]
            found.append({"image_id": 0, "category_id": 1, "score": 0.5, "bbox": [5, 5, 40, 30]})
            (folder / "predictions.bbox.json").write_text(json.dumps(found))
            if role != "teacher":
                write_log(folder, role, number)
                training(role, number).write(folder / "record-training.json")
    for role, ms, mb in (("teacher", 81.2, 44.1), ("distilled", 12.34, 4.9)):
        if role in roles:
            folder = work / "export" / role
            latency = {
                "p50_ms": ms,
                "p90_ms": ms + 1,
                "p99_ms": ms + 3,
                "mean_ms": ms,
                "iterations": 200,
            }
            common = {"role": role, "name": f"export/{role}"}
            Record(kind="latency", metrics=latency, conditions={"threads": 2}, **common).write(
                folder / "record-latency-onnxruntime.json"
            )
            Record(kind="export", metrics={"file_size_mb": mb}, **common).write(
                folder / "record-export.json"
            )
    return work


@pytest.fixture
def make_work_dir() -> Callable[..., Path]:
    return fabricate


@pytest.fixture
def make_accuracy() -> Callable[..., Record]:
    return accuracy
