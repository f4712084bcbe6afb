"""How far a run has come: what its folder holds, and what it was started with."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from mmengine.config import Config

from kd3d.errors import UserError
from kd3d.files import sha256_of, write_json
from kd3d.recipes.plan import Pace, Run
from kd3d.report.record import Record

Settings = dict[str, Any]  # Any: dotted key -> JSON value
ACCURACY = "record-accuracy.json"
TRAINING = "record-training.json"
_SET_FILE = "set.json"  # what kd3d's own data sets say they were made with


class Stage(Enum):
    """How far a run has come."""

    NEW = "new"
    INTERRUPTED = "interrupted"
    TRAINED = "trained"
    FINISHED = "finished"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run: an MMEngine work dir with the run's settings and records.

    ``plan/settings.json`` holds what the run was started with, so that a later command can tell
    a finished run from one of another config.

    Attributes:
        path: of the folder.
    """

    path: Path

    @property
    def plan(self) -> Path:
        """Configs and settings, as planned."""
        return self.path / "plan"

    def claim(self, settings: Settings, *, force: bool = False) -> None:
        """Makes the folder that of a run with these settings.

        What a run with the same settings left stays, unless it holds no checkpoint yet.

        Args:
            settings: from ``settings_of``.
            force: delete what a run with other settings left.

        Raises:
            UserError: a run with other settings, or something else, is in the folder.
        """
        self.check(settings, force=force)
        stays = self.stage() is not Stage.NEW and self.is_of(settings)
        if self.path.exists() and not stays:
            shutil.rmtree(self.path)
        write_json(self.plan / "settings.json", settings)

    def check(self, settings: Settings, *, force: bool = False) -> None:
        """Raises UserError if ``claim`` would, and changes nothing."""
        if not self.path.exists() or not any(self.path.iterdir()):
            return
        before = self._settings()
        if before is None:
            raise UserError(
                f"{self.path}: holds files that no recipe wrote; use another --work-dir"
            )
        if not self.is_of(settings) and not force and self.stage() is not Stage.NEW:
            raise UserError(
                f"{self.path}: was {self.stage().value} with other settings:\n"
                f"{_differences(before, settings)}\n"
                "use another --work-dir, or --force to delete this run and do it again"
            )

    def is_of(self, settings: Settings) -> bool:
        """Whether the folder is that of a run with these settings."""
        return self._settings() == settings

    def stage(self) -> Stage:
        """How far the run in the folder has come."""
        if (self.path / ACCURACY).is_file():
            return Stage.FINISHED
        if (self.path / TRAINING).is_file():
            return Stage.TRAINED
        return Stage.NEW if self.checkpoint() is None else Stage.INTERRUPTED

    def checkpoint(self) -> Path | None:
        """The newest checkpoint, from MMEngine's ``last_checkpoint``; None before the first."""
        note = self.path / "last_checkpoint"
        if not note.is_file():
            return None
        # Its folder is that of the training; the work dir may have been moved since.
        checkpoint = self.path / Path(note.read_text(encoding="utf-8").strip()).name
        return checkpoint if checkpoint.is_file() else None

    def pace(self) -> Pace:
        """What the training measured.

        Raises:
            FileNotFoundError: if the training has not finished.
        """
        metrics = Record.read(self.path / TRAINING).metrics
        return Pace(metrics.get("seconds_per_iter"), metrics.get("gradient_scale"))

    def _settings(self) -> Settings | None:
        file = self.plan / "settings.json"
        if not file.is_file():
            return None
        settings: Settings = json.loads(file.read_text(encoding="utf-8"))
        return settings


def settings_of(run: Run, needed: Mapping[str, Settings]) -> Settings:
    """All that decides the outcome of a run, as flat JSON.

    Of its data that is what the ``set.json`` in a ``data_root`` says, as the sets that kd3d makes
    have one; so it is asked for when the data are there.

    Args:
        run: as planned.
        needed: settings of the runs in ``run.needs``: a run is another one if what it builds
            on is.
    """
    settings: Settings = {"seed": run.seed, "terms": run.terms, "checkpoint": run.checkpoint}
    if run.checkpoint and Path(run.checkpoint).is_file():
        settings["checkpoint_hash"] = sha256_of(run.checkpoint)
    for name in run.needs:
        content = json.dumps(needed[name], sort_keys=True).encode()
        settings[f"needs.{name}"] = hashlib.sha256(content).hexdigest()[:12]
    for step, config in (("train", run.train), ("test", run.test)):
        if config is not None:
            _flatten(step, config, settings)
            for root in sorted(set(_data_roots(config))):
                record = Path(root) / _SET_FILE
                if record.is_file():
                    made_with = json.loads(record.read_text(encoding="utf-8"))
                    _flatten(f"data.{root}", made_with, settings)
    result: Settings = json.loads(json.dumps(settings, default=str))  # tuples become lists
    return result


def write_config(config: Config, path: Path) -> Path:
    """Writes a config as Python, all its bases merged in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    config.dump(path)
    return path


def _flatten(prefix: str, value: Any, into: Settings) -> None:  # Any: nested config values
    if isinstance(value, Config):
        value = value.to_dict()
    if isinstance(value, dict) and value:
        for key, item in value.items():
            _flatten(f"{prefix}.{key}", item, into)
    else:
        into[prefix] = value


def _data_roots(node: Any) -> Iterator[str]:  # Any: nested config values
    if isinstance(node, Config):
        node = node.to_dict()
    if isinstance(node, dict):
        if isinstance(node.get("data_root"), str):
            yield node["data_root"]
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _data_roots(item)


def _differences(before: Settings, now: Settings, most: int = 5) -> str:
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    lines = [f"  {key}: {_short(before.get(key))} -> {_short(now.get(key))}" for key in keys[:most]]
    if len(keys) > most:
        lines.append(f"  and {len(keys) - most} more")
    return "\n".join(lines)


def _short(value: Any, most: int = 60) -> str:  # Any: a JSON value
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."
