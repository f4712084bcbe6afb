"""What runs at the far end of an SSH connection, as ``python3 -c``: one request, then answers.

Standard library alone, and nothing of kd3d, which is not there yet. A request is one line of JSON
on standard input; for "put" the content of files follows. Each answer is one line of JSON behind
``MARK``, so that what a login shell prints is no answer.

Everything lies below ~/.cache/kd3d (or $XDG_CACHE_HOME/kd3d):
    files/SHA256    content that has arrived and whose hash was right; SHA256.*.part: some of it,
                    one for each sender, locked while it sends
    runs/NAME/      one run: links to files, its result, log, process; removed at its end
    engines/        engines that TensorRT has built
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Callable, Dict  # noqa: UP035  (evaluated; Python 3.8)

Request = Dict[str, Any]  # noqa: UP006  (Any: JSON)

MARK = "kd3d-answer "
BLOCK = 1 << 16
START_S = 5.0
TRY_AGAIN = 75  # exit code, EX_TEMPFAIL of sysexits.h: another attempt will do better
# A run that nobody has ended by then is swept away by the next one. What an earlier start of the
# machine left is in no use, and whoever waits for its result gives up within minutes.
STALE_S = 24 * 3600.0
STALE_AFTER_RESTART_S = 3600.0
# The shell notes how the command ended, for whoever connects later.
SUPERVISE = '"$@" >log 2>&1; echo $? >exit.part; mv exit.part exit'


def main() -> None:
    """Reads one request and answers it."""
    request = json.loads(sys.stdin.buffer.readline().decode())
    VERBS[request["verb"]](request)


def missing(request: Request) -> None:
    """Answers, for each hash of ``files`` that is not there, how many bytes of it are.

    Also the Python's version and the cache's folder: it is the first question of all.
    """
    found = {}
    for sha in request["files"]:
        if not cache("files", sha).is_file():
            found[sha] = max(map(size_of, parts(sha)), default=0)
    answer(missing=found, python=list(sys.version_info[:3]), cache=str(cache()))


def put(request: Request) -> None:
    """Stores files; each is a line with sha, offset and size, then the bytes from offset on."""
    cache("files").mkdir(parents=True, exist_ok=True)
    for line in iter(sys.stdin.buffer.readline, b""):
        entry = json.loads(line.decode())
        store(entry["sha"], entry["offset"], entry["size"])
        answer(stored=entry["sha"])


def store(sha: str, offset: int, size: int) -> None:
    """Receives from offset on into a file of its own, which becomes the content once it is whole.

    So senders of one file do not meet. What comes before the offset is copied from what another
    has brought, or one whose connection was lost.
    """
    path = cache("files", sha)
    descriptor, name = tempfile.mkstemp(".part", sha + ".", str(path.parent))
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            with suppress(OSError):  # a file system without locks: then nobody drops a part
                lock(stream)
            copy_beginning(sha, offset, stream)
            drop_parts(sha)
            if copy(sys.stdin.buffer, stream, size - offset) < size - offset:
                raise SystemExit("the connection ended within a file")
            if sha256_of(part) != sha:
                part.unlink()
                if offset:  # the beginning may have been another's
                    try_again("what arrived is not the file")
                raise SystemExit("what arrived is not the file: SHA-256 differs")
            os.fsync(descriptor)  # a board loses its power: no name without its content
            part.chmod(0o400)  # runs share it by hard links
            part.replace(path)
    finally:
        if part.is_file() and not size_of(part):
            part.unlink()
        if path.is_file():
            drop_parts(sha)


def copy_beginning(sha: str, size: int, target: IO[bytes]) -> None:
    """The first bytes of a file, from wherever they are."""
    if not size:
        return
    for source in (cache("files", sha), *parts(sha)):
        with suppress(FileNotFoundError), source.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size >= size:
                copy(stream, target, size)
                return
    try_again("what had arrived of a file is gone")


def copy(source: IO[bytes], target: IO[bytes], size: int) -> int:
    """How many bytes, ``size`` at most, there were; each block is written at once."""
    copied = 0
    while copied < size:
        block = source.read(min(BLOCK, size - copied))
        if not block:
            break
        target.write(block)
        target.flush()
        copied += len(block)
    return copied


def parts(sha: str) -> list[Path]:
    """What there is of a file that is not whole. An empty one may not be locked yet: not seen."""
    return [part for part in cache("files").glob(sha + "*.part") if size_of(part)]


def drop_parts(sha: str) -> None:
    """Removes the parts of a file that no sender holds."""
    for part in parts(sha):
        with suppress(OSError), part.open("rb") as stream:  # gone, or locked, so in use
            lock(stream)
            part.unlink()


def lock(stream: IO[bytes]) -> None:
    """Holds a file until it is closed, also by the end of the process.

    Raises:
        OSError: if another has it, or the file system has no locks.
    """
    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def unpack(run: str, files: dict[str, str]) -> Path:
    """Makes the folder of a run: ``files`` maps its relative paths to hashes. Twice is no harm."""
    folder = cache("runs", run)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "made", since_start())
    sweep()
    for path, sha in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            try:
                os.link(str(cache("files", sha)), str(target))
            except OSError:  # a file system without hard links
                shutil.copyfile(str(cache("files", sha)), str(target))
    return folder


def start(request: Request) -> None:
    """Starts ``python ARGUMENTS`` in the folder of a run, detached; once, however often asked."""
    folder = unpack(request["run"], request["files"])
    try:
        (folder / "started").touch(exist_ok=False)
    except FileExistsError:
        answer(started=False)
        return
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(
        ["/bin/sh", "-c", SUPERVISE, "kd3d", sys.executable, *request["arguments"]],
        cwd=str(folder),
        env=dict(os.environ, PYTHONPATH=str(folder / "runtime")),
        stdin=nothing,
        stdout=nothing,
        stderr=nothing,
        start_new_session=True,  # so the end of the connection is not its end
    )
    write(folder / "process", f"{process.pid} {started_at(process.pid)}")
    answer(started=True)


def follow(request: Request) -> None:
    """Answers the progress every ``pause_s`` until the run has ended, then how, result and log."""
    folder = cache("runs", request["run"])
    limit = time.monotonic() + START_S
    while not read(folder, "process") and time.monotonic() < limit:
        time.sleep(0.05)  # whoever was asked to start it has not come so far
    while process_of(folder):
        answer(state="running", progress=read(folder, "progress"))
        time.sleep(request["pause_s"])
    code = read(folder, "exit").strip()
    log = read(folder, "log")[-4000:]
    answer(
        state="ended" if code else "gone", code=code, log=log, result=read(folder, "result.json")
    )


def attend(request: Request) -> None:
    """Becomes ``python ARGUMENTS`` in the folder of a run, on this connection."""
    folder = unpack(request["run"], request["files"])
    stop(folder)  # one whose connection is lost may not know it yet, and hold the GPU's memory
    with suppress(PermissionError):  # the leader of a session leads a group already
        os.setpgid(0, 0)
    write(folder / "process", f"{os.getpid()} {started_at(os.getpid())}")
    os.chdir(str(folder))
    environment = dict(os.environ, PYTHONPATH=str(folder / "runtime"))
    os.execve(sys.executable, [sys.executable, *request["arguments"]], environment)


def end(request: Request) -> None:
    """Stops a run if it still goes, removes its folder, and content that nobody will ask for."""
    folder = cache("runs", request["run"])
    stop(folder)
    shutil.rmtree(str(folder), ignore_errors=True)
    for sha in request.get("forget", ()):
        cache("files", sha).unlink(missing_ok=True)
        shutil.rmtree(str(cache("engines", sha[:12])), ignore_errors=True)
    answer(ended=True)


def stop(folder: Path) -> None:
    """Ends the process group of a run: kindly first, then by force."""
    for kind, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        process = process_of(folder)
        if not process:
            return
        with suppress(ProcessLookupError):  # it has just ended by itself
            os.killpg(process, kind)
        limit = time.monotonic() + patience_s
        while process_of(folder) and time.monotonic() < limit:
            time.sleep(0.05)


def sweep() -> None:
    """Removes folders of runs that were never fetched, and parts of files that are whole."""
    for folder in cache("runs").glob("*"):
        with suppress(OSError):  # its own user removed it in between
            if is_stale(folder) and not process_of(folder):
                shutil.rmtree(str(folder), ignore_errors=True)
    whole = {part.name.partition(".")[0] for part in cache("files").glob("*.part")}
    for sha in whole:
        if cache("files", sha).is_file():
            drop_parts(sha)


def is_stale(folder: Path) -> bool:
    """Whether a run's folder is old, by how long the machine has been on since it was made.

    Not by the clock: a board without a battery begins in 1970, and its clock jumps when it hears
    the time. A folder that does not say when it was made is given a new life.
    """
    start, now_s = since_start().split()
    made = read(folder, "made").split()
    if len(made) != 2:
        with suppress(FileExistsError), (folder / "made").open("x") as stream:
            stream.write(since_start())
        return False
    if made[0] != start:
        return float(now_s) > STALE_AFTER_RESTART_S
    return float(now_s) - float(made[1]) > STALE_S


def since_start() -> str:
    """Which start of the machine this is, and the seconds since then."""
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        start = "unknown"
    return f"{start} {time.clock_gettime(time.CLOCK_BOOTTIME):.0f}"


def process_of(folder: Path) -> int:
    """Process id of a run that goes on, else 0; a number that another process has now is not it."""
    entry = read(folder, "process").split()
    if len(entry) != 2 or (folder / "exit").exists():
        return 0
    return int(entry[0]) if started_at(entry[0]) == entry[1] else 0


def started_at(process: int | str) -> str:
    """When a process started, in ticks since the machine did; empty if it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def cache(*parts: str) -> Path:
    """A path below the cache's folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().joinpath("kd3d", *parts)


def try_again(why: str) -> None:
    """Ends; whoever asked is to ask anew."""
    print(why, file=sys.stderr)
    raise SystemExit(TRY_AGAIN)


def answer(**content: Any) -> None:
    """Prints one answer."""
    print(MARK + json.dumps(content), flush=True)


def read(folder: Path, name: str) -> str:
    """Text of a file of a run; empty if it is not there."""
    try:
        return (folder / name).read_text(errors="replace")
    except OSError:
        return ""


def write(path: Path, text: str) -> None:
    """Writes a whole file or none."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def size_of(path: Path) -> int:
    """Bytes in a file; 0 if it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def sha256_of(path: Path) -> str:
    """All 64 digits of the SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


VERBS: dict[str, Callable[[Request], None]] = {
    verb.__name__: verb for verb in (missing, put, start, follow, attend, end)
}

if __name__ == "__main__":
    main()
