"""Child processes that run the project's tools, with their output in a log file."""

import contextlib
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

_ITER = re.compile(r"Iter\(train\)\s*\[\s*(\d+)/(\d+)\]")
_EPOCH = re.compile(r"Epoch\(train\)\s*\[\s*(\d+)\]\[\s*(\d+)/(\d+)\]")
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
    """

    what: str
    argv: tuple[str, ...]
    log: Path
    trains: bool = False
    epochs: int | None = None


class Child:
    """A started command.

    It leads a process group of its own, so that Ctrl-C reaches it through ``stop`` only, once,
    together with all it started.
    """

    def __init__(self, command: Command, environment: dict[str, str]) -> None:
        """Starts it, appending to its log."""
        self.command = command
        command.log.parent.mkdir(parents=True, exist_ok=True)
        with command.log.open("ab") as log:
            self._start_byte = log.tell()
            self._process = subprocess.Popen(
                command.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment},
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

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
class TrainingProgress:
    """Where a training stands.

    Attributes:
        fraction: done, in [0, 1].
        text: such as "150/250 loss 1.23".
    """

    fraction: float
    text: str


def training_progress(printed: str, epochs: int | None = None) -> TrainingProgress:
    """Reads MMEngine's log lines.

    Args:
        printed: the end of a training's log.
        epochs: in all, for a training counted in epochs.

    >>> training_progress("Iter(train) [ 50/200]  lr: 0.1  loss: 1.2300  loss_cls: 1.0")
    TrainingProgress(fraction=0.25, text='50/200 loss 1.23')
    >>> training_progress("Epoch(train)  [2][ 5/10]  loss: 2.0", epochs=3)
    TrainingProgress(fraction=0.5, text='epoch 2/3 loss 2')
    """
    losses = _LOSS.findall(printed)
    loss = f" loss {float(losses[-1]):.3g}" if losses else ""
    if iterations := _ITER.findall(printed):
        done, total = map(int, iterations[-1])
        return TrainingProgress(done / total, f"{done}/{total}{loss}")
    if epochs and (found := _EPOCH.findall(printed)):
        epoch, done, total = map(int, found[-1])
        return TrainingProgress(
            (epoch - 1 + done / total) / epochs, f"epoch {epoch}/{epochs}{loss}"
        )
    return TrainingProgress(0.0, "starting")
