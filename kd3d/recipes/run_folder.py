"""How far a run has come: what its folder holds, and what it was started with."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from mmengine.config import Config

from kd3d.checkpoints import load_checkpoint
from kd3d.errors import UserError
from kd3d.files import read_json, sha256_of, write_json
from kd3d.recipes.plan import Pace, Run
from kd3d.report.record import ACCURACY_FILE, TRAINING_FILE, Record

Settings = dict[str, Any]  # Any: dotted key -> JSON value
_SET_FILE = "set.json"  # what kd3d's own data sets say they were made with
_WEIGHTS = "weights."  # then a file that a training reads; its hash
_NUMBERED = re.compile(r"(?:iter|epoch)_(\d+)\.pth")


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
        self.note(settings)

    def note(self, settings: Settings) -> None:
        """Writes the settings down; what was known of weights that are gone stays."""
        before = self.settings() or {}
        known = {key: value for key, value in before.items() if key.startswith(_WEIGHTS)}
        whole = {**known, **settings}
        if whole != before:
            write_json(self.plan / "settings.json", whole)

    def check(self, settings: Settings, *, force: bool = False) -> None:
        """Raises UserError if ``claim`` would, and changes nothing."""
        if not self.path.exists() or not any(self.path.iterdir()):
            return
        before = self.settings()
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
        """Whether the folder is that of a run with these settings, as far as both are known."""
        before = self.settings()
        return before is not None and not _differing(before, settings)

    def stage(self) -> Stage:
        """How far the run in the folder has come."""
        if (self.path / ACCURACY_FILE).is_file():
            return Stage.FINISHED
        if (self.path / TRAINING_FILE).is_file():
            return Stage.TRAINED
        return Stage.NEW if self.checkpoint() is None else Stage.INTERRUPTED

    def checkpoint(self) -> Path | None:
        """What the training has come to; None before its first checkpoint.

        MMEngine's ``last_checkpoint`` names it. Where a power failure left that note, or what it
        names, damaged, it is the newest that is whole. Of a finished training, the newest: an
        earlier one would pass for its result.
        """
        trained = (self.path / TRAINING_FILE).is_file()
        return next((path for path in self._checkpoints() if trained or _is_whole(path)), None)

    def _checkpoints(self) -> Iterator[Path]:
        """The one that is noted, if it is there, then all of the training, the newest first."""
        note = self.path / "last_checkpoint"
        with suppress(OSError):  # absent, or damaged
            # Its folder is that of the training; the work dir may have been moved since.
            noted = self.path / Path(note.read_text(errors="replace").strip()).name
            if noted.is_file():
                yield noted
        found = [(_NUMBERED.fullmatch(path.name), path) for path in self.path.glob("*.pth")]
        numbered = [(int(match[1]), path) for match, path in found if match]
        yield from (path for _, path in sorted(numbered, reverse=True))

    def pace(self) -> Pace:
        """What the training measured.

        Raises:
            FileNotFoundError: if the training has not finished.
        """
        metrics = Record.read(self.path / TRAINING_FILE).metrics
        return Pace(metrics.get("seconds_per_iter"), metrics.get("gradient_scale"))

    def settings(self) -> Settings | None:
        """What the run was started with; None where no recipe wrote it.

        Raises:
            UserError: the note is damaged.
        """
        file = self.plan / "settings.json"
        if not file.is_file():
            return None
        settings = read_json(file)
        if not isinstance(settings, dict):
            raise UserError(
                f"{file}: damaged, as by a power failure, so nobody knows with which settings this "
                f"run was made; delete {self.path} to do it again, or use another --work-dir"
            )
        return settings


def settings_of(
    run: Run,
    needed: Mapping[str, Settings],
    *,
    covered: Collection[Path] = (),
    hash_of: Callable[[Path], str] = sha256_of,
) -> Settings:
    """All that decides the outcome of a run, as flat JSON.

    Of its data that is what the ``set.json`` in a ``data_root`` says, as the sets that kd3d makes
    have one; so it is asked for when the data are there. Of weights that its training reads
    (``load_from``, a teacher's ``checkpoint``), the hash of a local file.

    Args:
        run: as planned.
        needed: settings of the runs in ``run.needs``: a run is another one if what it builds
            on is.
        covered: weights of the runs in ``run.needs``, whose settings stand for them.
        hash_of: of a file.
    """
    settings: Settings = {"seed": run.seed, "terms": run.terms, "checkpoint": run.checkpoint}
    if run.checkpoint and Path(run.checkpoint).is_file():
        settings["checkpoint_hash"] = hash_of(Path(run.checkpoint))
    for name in run.needs:
        # one by one, for runs of before they were noted: a hash of all would be another
        weights = {key: value for key, value in needed[name].items() if key.startswith(_WEIGHTS)}
        rest = {key: value for key, value in needed[name].items() if key not in weights}
        content = json.dumps(rest, sort_keys=True).encode()
        settings[f"needs.{name}"] = hashlib.sha256(content).hexdigest()[:12]
        settings.update(weights)
    for text in sorted(set(_texts(run.train, "load_from", "checkpoint"))):
        file = Path(text).expanduser()
        if file.is_file() and file.resolve() not in {path.resolve() for path in covered}:
            settings[f"{_WEIGHTS}{text}"] = hash_of(file)
    for step, config in (("train", run.train), ("test", run.test)):
        if config is not None:
            _flatten(step, config, settings)
            for root in sorted(set(_texts(config, "data_root"))):
                record = Path(root) / _SET_FILE
                if record.is_file():
                    made_with = read_json(record)
                    if made_with is None:
                        raise UserError(f"{record}: damaged; make the data set anew")
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


def _texts(node: Any, *keys: str) -> Iterator[str]:  # Any: nested config values
    """The texts that stand under any of the keys, at any depth."""
    if isinstance(node, Config):
        node = node.to_dict()
    if isinstance(node, dict):
        yield from (node[key] for key in keys if isinstance(node.get(key), str))
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _texts(item, *keys)


def _is_whole(checkpoint: Path) -> bool:
    with suppress(UserError):
        load_checkpoint(checkpoint)
        return True
    return False


def _differing(before: Settings, now: Settings) -> list[str]:
    """Keys of what differs; weights that only one of the two knows do not count.

    The other is a run of before they were noted, or they are not there any more.
    """
    unknown = {key for key in before.keys() ^ now.keys() if key.startswith(_WEIGHTS)}
    return [
        key for key in {**before, **now} if before.get(key) != now.get(key) and key not in unknown
    ]


def _differences(before: Settings, now: Settings) -> str:
    keys = _differing(before, now)
    lines = [f"  {key}: {_short(before.get(key))} -> {_short(now.get(key))}" for key in keys[:5]]
    if len(keys) > 5:
        lines.append(f"  and {len(keys) - 5} more")
    return "\n".join(lines)


def _short(value: Any) -> str:  # Any: a JSON value
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
