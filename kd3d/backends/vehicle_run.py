"""One run on a vehicle: its folder is made, used, and removed again, whatever happens.

What is not there is copied: the bundle's files and those of kd3d that a vehicle needs.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kd3d.backends.bundle import FILE_NAME, SAMPLE_FILE, Bundle
from kd3d.backends.ssh import Host, Say, ask, with_retries
from kd3d.backends.vehicle_cache import SentBytes, send_files
from kd3d.backends.vehicle_files import vehicle_files
from kd3d.errors import UserError

OLDEST_PYTHON = (3, 8)
BUNDLE = "bundle"  # the bundle's folder within the run's
_LAST_PAUSES_S = (1.0, 2.0, 4.0)


@dataclass(frozen=True)
class VehicleRun:
    """A folder on the vehicle with ``bundle`` and ``runtime``.

    Attributes:
        host: the vehicle.
        name: of the run.
        cache: folder on the vehicle that stays: files by hash, and engines.
    """

    host: Host
    name: str
    cache: str

    @property
    def engines(self) -> str:
        """Where the vehicle keeps engines."""
        return f"{self.cache}/engines"


@contextmanager
def vehicle_run(
    bundle: Bundle,
    host: Host,
    *,
    precisions: Sequence[str],
    module: str,
    say: Say,
    sent: SentBytes | None = None,
) -> Iterator[VehicleRun]:
    """Copies what is missing, makes the folder; at the end stops what still runs and removes it.

    Args:
        bundle: what is copied of: export.json, sample.npz, and the models of ``precisions``.
        host: the vehicle.
        precisions: models to copy; each must be what export.json says.
        module: of kd3d, which is to run there.
        say: told of lost connections.
        sent: told (bytes sent, bytes that were missing).

    Raises:
        UserError: if the vehicle cannot be reached, or its Python is too old.
    """
    there = bundle_files(bundle, precisions)
    runtime = {f"runtime/{path}": file for path, file in vehicle_files(module).items()}
    found = _first_contact(host)
    run = VehicleRun(host, uuid.uuid4().hex, found)
    try:
        hashes = send_files(host, {**there, **runtime}, say=say, progress=sent)
        with_retries(lambda: ask(host, "unpack", run=run.name, files=hashes), say=say)
        yield run
    finally:
        _end(run, say)


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


def _first_contact(host: Host) -> str:
    """The cache's folder; the connection gets no second chance, so that a typing error shows."""
    found = with_retries(lambda: ask(host, "hello"), say=lambda _: None, pauses_s=())
    version = tuple(found["python"])
    if version < OLDEST_PYTHON:
        said = ".".join(map(str, version))
        raise UserError(
            f"{host.address}: '{host.python}' is Python {said}; expected 3.8 or later: "
            "name one with --remote-python"
        )
    return str(found["cache"])


def _end(run: VehicleRun, say: Say) -> None:
    try:
        with_retries(lambda: ask(run.host, "end", run=run.name), say=say, pauses_s=_LAST_PAUSES_S)
    except UserError as error:
        say(
            f"{error}\nThe run on {run.host.address} could not be ended. It ends by itself; its "
            f"folder {run.cache}/runs/{run.name} is swept away by a run a day later."
        )
