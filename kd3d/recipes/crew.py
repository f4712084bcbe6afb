"""Runs at work: their children, watched together."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kd3d.errors import UserError
from kd3d.recipes.children import Child, Command, progress_of
from kd3d.recipes.outlook import Activity, one_command

Say = Callable[[str], None]
Tell = Callable[[Sequence[Activity]], str]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and how runs are executed.

    Attributes:
        tools: folder of the project's tools.
        jobs: runs at a time.
        processes: of one training, through torchrun; 1 starts it plainly.
        poll_s: between two looks at the children, in seconds.
        report_s: between two progress lines, in seconds.
    """

    tools: Path
    jobs: int = 1
    processes: int = 1
    poll_s: float = 0.1
    report_s: float = 30.0

    @property
    def environment(self) -> dict[str, str]:
        """What children get beside this process's environment."""
        extra = {"PYTHONUNBUFFERED": "1"}
        if self.jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
            extra["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.jobs))
        return extra

    def tool(self, script: str, *arguments: str | int | Path) -> tuple[str, ...]:
        """The argv of one of the project's tools, in one process."""
        return (sys.executable, str(self.tools / script), *map(str, arguments))

    def training(self, *arguments: str | int | Path) -> tuple[str, ...]:
        """The argv of a training, in as many processes as set."""
        plain = self.tool("train.py", *arguments)
        if self.processes == 1:
            return plain
        torchrun = ("-m", "torch.distributed.run", "--standalone")
        count = f"--nproc_per_node={self.processes}"
        return (plain[0], *torchrun, count, *plain[1:], "--launcher", "pytorch")


@dataclass
class Task:
    """Commands that follow each other; the next is asked for when the one before has succeeded.

    Attributes:
        name: of the run, for messages.
        commands: what is still to be started.
        child: at work now.
        started_s: when the first began, of a monotonic clock, in seconds.
    """

    name: str
    commands: Iterator[Command]
    child: Child | None = None
    started_s: float = field(default_factory=time.monotonic)


class Crew:
    """Up to ``machine.jobs`` tasks at a time; used as a context, so that none outlives it.

    If this process is killed, some do: they keep ``lock``, of ``only_command_in``.
    """

    def __init__(self, machine: Machine, say: Say, *, lock: int | None = None) -> None:
        """Starts nothing yet."""
        self.machine, self.say = machine, say
        self._lock = lock
        self._active: list[Task] = []
        self._said_s = time.monotonic()

    def __enter__(self) -> "Crew":
        """The crew itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stops what still runs: after an error or an interrupt."""
        children = [task.child for task in self._active if task.child is not None]
        for child in children:
            child.ask_to_end()  # all at once: their patience does not add up
        for child in children:
            child.stop()
        self._active.clear()

    @property
    def is_full(self) -> bool:
        """Whether no further task can start now."""
        return len(self._active) >= self.machine.jobs

    @property
    def is_idle(self) -> bool:
        """Whether no task is at work."""
        return not self._active

    def start(self, name: str, commands: Iterator[Command]) -> None:
        """Begins a task; one without commands is done at once, with the next ``wait``."""
        task = Task(name, commands)
        self._active.append(task)
        self._next(task)

    def wait(self, outlook: Tell = one_command) -> dict[str, float]:
        """Waits until tasks end.

        Args:
            outlook: says how long the rest takes, given what is at work.

        Returns:
            Name -> duration in seconds, of the tasks that ended.

        Raises:
            UserError: a command failed; the message names its log.
        """
        assert self._active, "nothing to wait for"
        while True:
            for task in self._active:
                if task.child is not None and task.child.exit_code is not None:
                    _check(task.name, task.child)
                    self._next(task)
            ended = [task for task in self._active if task.child is None]
            if ended:
                self._active = [task for task in self._active if task.child is not None]
                return {task.name: time.monotonic() - task.started_s for task in ended}
            self._report(outlook)
            time.sleep(self.machine.poll_s)

    def _next(self, task: Task) -> None:
        command = next(task.commands, None)
        task.child = None
        if command is not None:
            self.say(f"{task.name}: {command.what}")
            task.child = Child(command, self.machine.environment, lock=self._lock)

    def _report(self, outlook: Tell) -> None:
        if time.monotonic() - self._said_s < self.machine.report_s:
            return
        self._said_s = time.monotonic()
        texts, active = [], []
        for task in self._active:
            assert task.child is not None, "an ended task was left among the active"
            command, elapsed_s = task.child.command, task.child.elapsed_s
            progress = progress_of(command, task.child.tail())
            texts.append(f"{task.name} {progress.text}")
            active.append(Activity(task.name, elapsed_s, progress.fraction, command.trains))
        self.say(f"  {' | '.join(texts)}{outlook(active)}")


def finish(crew: Crew, name: str, commands: Sequence[Command]) -> None:
    """Runs commands one after the other, with nothing beside them.

    Raises:
        UserError: one failed.
    """
    assert crew.is_idle, "the crew still has work"
    crew.start(name, iter(commands))
    crew.wait()


def run_all(crew: Crew, commands: Mapping[str, Command]) -> None:
    """Runs commands beside each other, as many as the machine's jobs.

    Args:
        crew: idle.
        commands: by what they are called in messages.

    Raises:
        UserError: one failed; the others are stopped when the crew ends.
    """
    waiting = list(commands.items())
    while waiting or not crew.is_idle:
        while waiting and not crew.is_full:
            name, command = waiting.pop(0)
            crew.start(name, iter([command]))
        crew.wait()


def _check(name: str, child: Child) -> None:
    if child.exit_code != 0:
        raise UserError(
            f"{name}: {child.command.what} failed with exit code {child.exit_code}\n"
            f"  last line: {child.last_line()}\n"
            f"  log: {child.command.log}\n"
            "mend the cause and run the same command again; finished runs are kept"
        )
