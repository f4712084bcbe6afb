"""Runs a tool of ours inside this process: starting a second one would cost more than the test."""

import runpy
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def run_tool(monkeypatch, capsys):
    def run(name: str, *arguments: object) -> tuple[int, str]:
        """Returns the exit code and what the tool printed on stderr."""
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(TOOLS / name), run_name="__main__")
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, capsys.readouterr().err

    return run
