"""Brings files to a vehicle's cache, each under its hash: what is there is not sent again."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kd3d.backends.ssh import (
    Answer,
    ConnectionLostError,
    Host,
    Say,
    ask,
    converse,
    with_retries,
)
from kd3d.errors import UserError
from kd3d.files import sha256_of

SentBytes = Callable[[int, int], object]
OLDEST_PYTHON = (3, 8)
_DIGITS = 64
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Sent:
    """What lies in the cache.

    Attributes:
        hashes: relative path -> hash.
        cache: folder on the vehicle.
    """

    hashes: dict[str, str]
    cache: str


def send_files(
    host: Host, files: Mapping[str, Path], *, say: Say, progress: SentBytes | None = None
) -> Sent:
    """Sends what is missing; goes on within a file after a lost connection.

    The first connection gets no second chance, so that a typing error shows at once. Those behind
    it get all pauses anew whenever more has arrived than ever before.

    Args:
        host: where to.
        files: relative path on the vehicle -> file here.
        say: told of lost connections.
        progress: told (bytes sent, bytes that were missing).

    Raises:
        UserError: if the connection cannot be had, or the Python there is too old.
    """
    hashes = {path: sha256_of(file, _DIGITS) for path, file in files.items()}
    sources = {sha: files[path] for path, sha in hashes.items()}
    first = with_retries(lambda: _ask(host, sources), (), say=say)
    version = tuple(first["python"])
    if version < OLDEST_PYTHON:
        raise UserError(
            f"{host.address}: '{host.python}' is Python {'.'.join(map(str, version))}; expected "
            "3.8 or later: name one with --remote-python"
        )
    answers = [first]
    least = math.inf  # bytes that were missing when it was fewest

    def send() -> None:
        nonlocal least
        there = (answers.pop() if answers else _ask(host, sources))["missing"]
        before, least = least, min(least, _bytes_missing(sources, there))
        try:
            _send(host, sources, there, progress)
        except ConnectionLostError as error:
            raise ConnectionLostError(str(error), answered=least < before) from None

    with_retries(send, host.pauses_s, say=say)
    return Sent(hashes, str(first["cache"]))


def _ask(host: Host, sources: Mapping[str, Path]) -> Answer:
    return ask(host, "missing", files=sorted(sources))


def _bytes_missing(sources: Mapping[str, Path], there: Mapping[str, int]) -> int:
    return sum(sources[sha].stat().st_size - size for sha, size in there.items())


def _send(
    host: Host,
    sources: Mapping[str, Path],
    there: Mapping[str, int],
    progress: SentBytes | None,
) -> None:
    if not there:
        return
    sizes = {sha: sources[sha].stat().st_size for sha in there}
    whole, sent = sum(sizes.values()), sum(there.values())
    with converse(host, "put") as process:
        assert process.stdin is not None, "it was made with pipes"
        for sha, offset in there.items():
            entry = {"sha": sha, "offset": offset, "size": sizes[sha]}
            process.stdin.write(json.dumps(entry).encode() + b"\n")
            with sources[sha].open("rb") as stream:
                stream.seek(offset)
                for block in iter(lambda: stream.read(_BLOCK), b""):
                    process.stdin.write(block)
                    sent += len(block)
                    if progress is not None:
                        progress(sent, whole)
            process.stdin.flush()
