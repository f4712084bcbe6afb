"""Every tool answers --help with a command that works, and nothing shadows a standard module."""

import re
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
NAMES = sorted(str(path.relative_to(TOOLS)) for path in TOOLS.rglob("*.py"))
COMMANDS = [name for name in NAMES if "ArgumentParser" in (TOOLS / name).read_text()]


def test_none_is_overlooked():
    spine = {"benchmark.py", "check.py", "export.py", "report.py", "run_recipe.py", "test.py"}
    assert spine | {"train.py"} <= set(COMMANDS)
    assert len(COMMANDS) >= 11


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_a_command(run, name):
    done = run(name, "--help")
    assert done.returncode == 0
    assert not done.stderr
    assert re.search(rf"python tools/{name}\b", done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_tool_is_short(name):
    assert len((TOOLS / name).read_text().splitlines()) <= 120


def test_no_tool_shadows_the_standard_library():
    shadows = {Path(name).stem for name in NAMES} & sys.stdlib_module_names
    assert shadows <= {"test"}  # Python's own tests, which nothing imports
