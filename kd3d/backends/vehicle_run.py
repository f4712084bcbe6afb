"""One run on a vehicle: its folder is made, used, and removed again, whatever happens.

What is not there is copied: the bundle's files and those of kd3d that a vehicle needs.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd3d.backends.bundle import FILE_NAME, SAMPLE_FILE, Bundle
from kd3d.backends.ssh import Host, Say, ask, with_retries
from kd3d.backends.vehicle_cache import SentBytes, send_files
from kd3d.backends.vehicle_files import vehicle_files
from kd3d.errors import UserError

BUNDLE = "bundle"  # the bundle's folder within the run's


@dataclass(frozen=True)
class VehicleRun:
    """A folder on the vehicle with ``bundle`` and ``runtime``.

    Attributes:
        host: the vehicle.
        name: of the run.
        files: relative path in the folder -> hash; they are in the cache.
        cache: folder on the vehicle that stays: files by hash, and engines.
    """

    host: Host
    name: str
    files: Mapping[str, str]
    cache: str

    @property
    def engines(self) -> str:
        """Where the vehicle keeps engines."""
        return f"{self.cache}/engines"

    def request(self, module: str, arguments: Sequence[str]) -> dict[str, Any]:  # Any: JSON
        """What to "start" or "attend": a module of kd3d in the folder, which is made for it."""
        whole = ["-m", module, BUNDLE, *arguments, "--engines", self.engines]
        return {"run": self.name, "files": self.files, "arguments": whole}


@contextmanager
def vehicle_run(
    bundle: Bundle,
    host: Host,
    *,
    precisions: Sequence[str],
    module: str,
    say: Say,
    sent: SentBytes | None = None,
    keep: bool = True,
) -> Iterator[VehicleRun]:
    """Copies what is missing; at the end stops what still runs and removes the run's folder.

    Args:
        bundle: what is copied of: export.json, sample.npz, and the models of ``precisions``.
        host: the vehicle.
        precisions: models to copy; each must be what export.json says.
        module: of kd3d, which is to run there.
        say: told of lost connections.
        sent: told (bytes sent, bytes that were missing).
        keep: False removes the bundle's files from the cache too, and engines built from them.

    Raises:
        UserError: if the vehicle cannot be reached, or its Python is too old.
    """
    there = bundle_files(bundle, precisions)
    runtime = {f"runtime/{path}": file for path, file in vehicle_files(module).items()}
    stored = send_files(host, {**there, **runtime}, say=say, progress=sent)
    run = VehicleRun(host, uuid.uuid4().hex, stored.hashes, stored.cache)
    try:
        yield run
    finally:
        own = [stored.hashes[path] for path in there]
        _end(run, say, [] if keep else own)


def bundle_files(bundle: Bundle, precisions: Sequence[str]) -> dict[str, Path]:
    """Path in the folder of a run -> file, of what a vehicle needs of a bundle."""
    names = [FILE_NAME, SAMPLE_FILE]
    found = {f"{BUNDLE}/{name}": bundle.folder / name for name in names}
    for precision in precisions:
        model = bundle.verify(precision)
        found[f"{BUNDLE}/{model.name}"] = model
    missing = [file for file in found.values() if not file.is_file()]
    if missing:
        raise UserError(f"{missing[0]} is gone; export again")
    return found


def _end(run: VehicleRun, say: Say, forget: Sequence[str]) -> None:
    try:
        with_retries(
            lambda: ask(run.host, "end", run=run.name, forget=forget),
            run.host.pauses_s[:3],
            say=say,
        )
    except UserError as error:
        say(
            f"{error}\nThe run on {run.host.address} could not be ended. It ends by itself; its "
            f"folder {run.cache}/runs/{run.name} is swept away by a run a day later."
        )
