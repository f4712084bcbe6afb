"""Brings files to a vehicle's cache, each under its hash: what is there is not sent again."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from kd3d.backends.ssh import Host, Say, ask, converse, with_retries
from kd3d.files import sha256_of

SentBytes = Callable[[int, int], object]
_DIGITS = 64
_BLOCK = 1 << 16


def send_files(
    host: Host, files: Mapping[str, Path], *, say: Say, progress: SentBytes | None = None
) -> dict[str, str]:
    """Sends what is missing; goes on within a file after a lost connection.

    Args:
        host: where to.
        files: relative path on the vehicle -> file here.
        say: told of lost connections.
        progress: told (bytes sent, bytes that were missing).

    Returns:
        Relative path -> hash, for ``unpack``.

    Raises:
        UserError: if the connection cannot be had.
    """
    hashes = {path: sha256_of(file, _DIGITS) for path, file in files.items()}
    sources = {sha: files[path] for path, sha in hashes.items()}
    with_retries(lambda: _send_missing(host, sources, progress), say=say)
    return hashes


def _send_missing(host: Host, sources: Mapping[str, Path], progress: SentBytes | None) -> None:
    there: Mapping[str, int] = ask(host, "missing", files=sorted(sources))["missing"]
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
