"""Record: one measured result with the conditions it was measured under, as a JSON file.

The report is made from records alone, so a number without a record is never shown. ``schema()``
is the file's format as JSON Schema; reading and writing check against that same schema.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kd3d.errors import UserError
from kd3d.files import expected_json, write_json

KINDS = ("accuracy", "latency", "training", "export", "parity", "recipe")
ROLES = ("teacher", "baseline", "control", "distilled", "")
# names of the files in a run's or an export's folder
ACCURACY_FILE = "record-accuracy.json"
TRAINING_FILE = "record-training.json"
EXPORT_FILE = "record-export.json"
HEADLINES = ("NDS", "AP")  # what ranks a result, in percent; the first that is there

_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}
_SCALAR = {"type": ["string", "number", "integer", "boolean"]}
_PYTHON_TYPES = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "object": (dict,),
    "null": (type(None),),
}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measured result.

    Attributes:
        kind: "accuracy", "latency", "training", "export", "parity" or "recipe".
        role: "teacher", "baseline", "control", "distilled", or "" where unknown.
        name: of the run, such as "distilled/seed0".
        metrics: finite numbers; a value that is undefined is left out.
            accuracy, images: AP AP50 AP75 APs APm APl in percent.
            accuracy, nuScenes: NDS mAP in percent; mATE (m) mASE mAOE (rad) mAVE (m/s) mAAE.
            latency: min_ms p50_ms p90_ms p99_ms max_ms jitter_ms mean_ms throughput_fps iterations,
            of the host; with the prefixes device_ h2d_ d2h_ enqueue_ no_copies_ of a GPU
            (``kd3d.profiling.device_latency``); voxelization_; power_w idle_power_w, energy_j of a
            run.
            training: seconds_per_iter iterations peak_memory_mb gradient_share/<pair>.
            export, parity: file_size_mb max_abs_difference boxes_matched.
            recipe: wall_clock_s, and <stage>_s of data, runs and export.
        per_class: class name -> {"AP", "AP50"} in percent; nuScenes: "AP", "AP@0.5" to "AP@4"
            (by distance in m) in percent, "ATE" "ASE" "AOE" "AVE" "AAE".
        seed: of the run, None where it has none.
        config: path of the config; config_hash: of its text with all bases merged in.
        checkpoint: path of the weights; checkpoint_hash: of that file.
        dataset: ann_file, img_prefix, split; nuScenes: data_root, version, split, and
            synthetic="yes" where the world is made up.
        parameters: number of the measured model's parameters.
        twin: of a distilled run: the names of its "baseline", "control" and "teacher".
        files: such as predictions, curves -> path relative to the record's folder.
        environment: what ``kd3d.profiling.environment.environment()`` answers.
        conditions: whatever else the number depends on (input size, threads, schedule).
        created: time in UTC, ISO 8601.
    """

    kind: str
    role: str
    name: str
    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    seed: int | None = None
    config: str = ""
    config_hash: str = ""
    checkpoint: str = ""
    checkpoint_hash: str = ""
    dataset: dict[str, str] = field(default_factory=dict)
    parameters: int | None = None
    twin: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    conditions: dict[str, str | float | int | bool] = field(default_factory=dict)
    created: str = field(default_factory=_now)

    @property
    def headline(self) -> str:
        """Name of the metric that ranks this result: "NDS" where it has one, else "AP"."""
        return next((name for name in HEADLINES if name in self.metrics), HEADLINES[-1])

    def write(self, path: str | Path) -> Path:
        """Writes the record, whole or not at all, replacing an older one.

        Raises:
            UserError: if a value is not what ``schema()`` says; nothing is written then.
        """
        self.check(path)
        return write_json(path, dataclasses.asdict(self))

    def check(self, path: str | Path) -> None:
        """Raises the UserError of ``write`` to ``path`` without writing."""
        _check(dataclasses.asdict(self), schema(), where=f"{path}")

    @classmethod
    def read(cls, path: str | Path) -> "Record":
        """Reads a record.

        Raises:
            UserError: if the file is not JSON or not as ``schema()`` says, naming the entry.
        """
        content = expected_json(path, "a record as JSON")
        _check(content, schema(), where=f"{path}")
        return cls(**content)


def find_records(folder: str | Path) -> dict[Path, Record]:
    """Reads every ``record-*.json`` at or below ``folder``, in the order of their paths.

    Raises:
        UserError: if the folder is missing, or one of the records is malformed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder with records (record-*.json), found none")
    return {path: Record.read(path) for path in sorted(folder.rglob("record-*.json"))}


def schema() -> dict[str, Any]:  # Any: a JSON Schema nests freely
    """The format of a record file, as JSON Schema."""
    properties: dict[str, Any] = {
        "kind": {"type": "string", "enum": list(KINDS)},
        "role": {"type": "string", "enum": list(ROLES)},
        "name": _TEXT,
        "metrics": _NUMBERS,
        "per_class": {"type": "object", "additionalProperties": _NUMBERS},
        "seed": {"type": ["integer", "null"]},
        "config": _TEXT,
        "config_hash": _TEXT,
        "checkpoint": _TEXT,
        "checkpoint_hash": _TEXT,
        "dataset": _TEXTS,
        "parameters": {"type": ["integer", "null"]},
        "twin": _TEXTS,
        "files": _TEXTS,
        "environment": _TEXTS,
        "conditions": {"type": "object", "additionalProperties": _SCALAR},
        "created": _TEXT,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kd3d record",
        "type": "object",
        "properties": properties,
        "required": ["kind", "role", "name", "metrics", "created"],
        "additionalProperties": False,
    }


def _check(value: Any, rule: Mapping[str, Any], *, where: str) -> None:  # Any: parsed JSON
    """Raises UserError where ``value`` breaks ``rule``, a JSON Schema of the words used above."""
    names = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    types = tuple(kind for name in names for kind in _PYTHON_TYPES[name])
    # bool is an int to Python, but not to JSON
    fits = isinstance(value, types) and not (isinstance(value, bool) and "boolean" not in names)
    if not fits:
        raise UserError(f"{where}: expected {' or '.join(names)}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: expected a finite number, got {value}; leave the entry out")
    if value not in rule.get("enum", [value]):
        raise UserError(f"{where}: expected one of {rule['enum']}, got {value!r}")
    if isinstance(value, dict):
        _check_entries(value, rule, where=where)


def _check_entries(value: dict[str, Any], rule: Mapping[str, Any], *, where: str) -> None:
    known = rule.get("properties", {})
    others = rule["additionalProperties"]
    missing = [key for key in rule.get("required", []) if key not in value]
    if missing:
        raise UserError(f"{where}: expected the entries {missing}, but they are missing")
    for key, entry in value.items():
        if key in known:
            _check(entry, known[key], where=f"{where}: {key}")
        elif others is False:
            raise UserError(f"{where}: unknown entry {key!r}; expected some of {sorted(known)}")
        else:
            _check(entry, others, where=f"{where}: {key}")
