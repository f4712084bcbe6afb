"""The supported families as fixtures, and the tools as a user calls them."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn
from toys_families import CHANGES, tiny_config, tiny_detector

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=sorted(CHANGES))
def family(request) -> str:
    """Name of each family in turn."""
    return request.param


@pytest.fixture(scope="session")
def build() -> Callable[[str], tuple[nn.Module, Config]]:
    """(detector, config) of a family, built once."""
    built: dict[str, tuple[nn.Module, Config]] = {}

    def get(family: str) -> tuple[nn.Module, Config]:
        if family not in built:
            cfg = tiny_config(family)
            built[family] = (tiny_detector(cfg), cfg)
        return built[family]

    return get


@pytest.fixture
def checkpoint(build, tmp_path) -> Callable[[str], tuple[Path, Path]]:
    """(config file, checkpoint file) of a family."""

    def write(family: str) -> tuple[Path, Path]:
        detector, cfg = build(family)
        cfg.dump(tmp_path / "config.py")
        torch.save({"state_dict": detector.state_dict()}, tmp_path / "weights.pth")
        return tmp_path / "config.py", tmp_path / "weights.pth"

    return write


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a tool; answers (exit code, output, errors)."""

    def run(tool, *arguments):
        monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "140")
        code = 0
        try:
            runpy.run_path(str(TOOLS / tool), run_name="__main__")
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
