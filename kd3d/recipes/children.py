"""Child processes that run the project's tools, with their output in a log file."""

import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_ITER = re.compile(r"Iter\(train\)\s*\[\s*(\d+)/(\d+)\]")
_EPOCH = re.compile(r"Epoch\(train\)\s*\[\s*(\d+)\]\[\s*(\d+)/(\d+)\]")
_TESTED = re.compile(r"\((?:test|val)\)\s*\[\s*(\d+)/(\d+)\]")
_COUNT = re.compile(r"(\d+)\s*/\s*(\d+)")
_LINE_CHARACTERS = 70
_LOSS = re.compile(r"\bloss: ([\d.]+)")
_TAIL_BYTES = 8192
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Command:
    """One tool to run.

    Attributes:
        what: it does, in one word: "training", "evaluation", ...
        argv: program and arguments; no shell reads them.
        log: file that gets all it prints.
        trains: whether it prints MMEngine's training lines.
        epochs: length of a training that counts epochs.
        speaks: whether its last line tells how far it is, such as "train [###   ] 30/60".
    """

    what: str
    argv: tuple[str, ...]
    log: Path
    trains: bool = False
    epochs: int | None = None
    speaks: bool = False


class Child:
    """A started command.

    It leads a process group of its own, so that Ctrl-C reaches it through ``stop`` only, once,
    together with all it started.
    """

    def __init__(
        self, command: Command, environment: dict[str, str], *, lock: int | None = None
    ) -> None:
        """Starts it, appending to its log; it keeps the descriptor ``lock`` until it ends."""
        self.command = command
        self._started_s = time.monotonic()
        command.log.parent.mkdir(parents=True, exist_ok=True)
        with command.log.open("ab") as log:
            self._start_byte = log.tell()
            self._process = subprocess.Popen(
                command.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=() if lock is None else (lock,),
                env={**os.environ, **environment},
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    @property
    def elapsed_s(self) -> float:
        """Since it was started."""
        return time.monotonic() - self._started_s

    def ask_to_end(self) -> None:
        """Sends SIGTERM to it and all it started, and does not wait."""
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """Asks it to end, and after some patience kills it and all it started."""
        self.ask_to_end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE_S)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def tail(self) -> str:
        """The end of what it printed."""
        with self.command.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._start_byte, size - _TAIL_BYTES))
            return log.read().decode(errors="replace")

    def last_line(self) -> str:
        """The last line it printed that says something."""
        lines = [line.strip() for line in self.tail().splitlines() if line.strip()]
        return lines[-1] if lines else "it printed nothing"

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


@dataclass(frozen=True)
class Progress:
    """Where a command stands.

    Attributes:
        fraction: done, in [0, 1].
        text: such as "150/250 loss 1.23".
    """

    fraction: float
    text: str


def progress_of(command: Command, printed: str) -> Progress:
    """Where any of our commands stands; without a word of it, at 0.

    >>> evaluation = Command("evaluation", (), Path("log"))
    >>> progress_of(evaluation, "Epoch(test) [ 30/60]  time: 0.1")
    Progress(fraction=0.5, text='evaluation 30/60')
    """
    if command.trains or _ITER.search(printed) or _EPOCH.search(printed):
        return training_progress(printed, command.epochs)
    if tested := _TESTED.findall(printed):
        done, total = map(int, tested[-1])
        return Progress(_ratio(done, total), f"{command.what} {done}/{total}")
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    if not (command.speaks and lines):
        return Progress(0.0, command.what)
    counts = _COUNT.findall(lines[-1])
    fraction = _ratio(*map(int, counts[-1])) if counts else 0.0
    return Progress(fraction, lines[-1][:_LINE_CHARACTERS])


def _ratio(done: int, total: int) -> float:
    return min(1.0, done / total) if total else 0.0


def training_progress(printed: str, epochs: int | None = None) -> Progress:
    """Reads MMEngine's log lines.

    Args:
        printed: the end of a training's log.
        epochs: in all, for a training counted in epochs.

    >>> training_progress("Iter(train) [ 50/200]  lr: 0.1  loss: 1.2300  loss_cls: 1.0")
    Progress(fraction=0.25, text='50/200 loss 1.23')
    >>> training_progress("Epoch(train)  [2][ 5/10]  loss: 2.0", epochs=3)
    Progress(fraction=0.5, text='epoch 2/3 loss 2')
    """
    losses = _LOSS.findall(printed)
    loss = f" loss {float(losses[-1]):.3g}" if losses else ""
    if iterations := _ITER.findall(printed):
        done, total = map(int, iterations[-1])
        return Progress(done / total, f"{done}/{total}{loss}")
    if epochs and (found := _EPOCH.findall(printed)):
        epoch, done, total = map(int, found[-1])
        return Progress((epoch - 1 + done / total) / epochs, f"epoch {epoch}/{epochs}{loss}")
    return Progress(0.0, "starting")
