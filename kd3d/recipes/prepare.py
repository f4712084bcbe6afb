"""Before the runs: the commands that make a recipe's data."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from kd3d.recipes.children import Command
from kd3d.recipes.crew import Crew, Machine, finish
from kd3d.recipes.recipe import Preparation


def prepare(steps: Sequence[Preparation], work_dir: Path, crew: Crew) -> None:
    """Runs what is not done yet, in order.

    Raises:
        UserError: a command failed.
    """
    log = work_dir / "prepare.log"
    commands = [
        Command(step.run, argv_of(step.run, crew.machine), log, speaks=True)
        for step in steps
        if not (step.makes and Path(step.makes).exists())
    ]
    if commands:
        finish(crew, "prepare", commands)


def argv_of(line: str, machine: Machine) -> tuple[str, ...]:
    """Splits a command line; a script of the project's tools is found wherever we stand.

    >>> argv_of("make data", Machine(tools=Path("/kd3d/tools")))
    ('make', 'data')
    >>> argv_of("tools/datasets/a.py --out 'a b'", Machine(tools=Path("/kd3d/tools")))[1:]
    ('/kd3d/tools/datasets/a.py', '--out', 'a b')
    """
    program, *arguments = shlex.split(line)
    if not program.endswith(".py"):
        return (program, *arguments)
    if program.startswith("tools/"):
        program = str(machine.tools / program.removeprefix("tools/"))
    return (sys.executable, program, *arguments)
