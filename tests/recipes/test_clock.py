from types import SimpleNamespace

import pytest

from kd3d.recipes import clock as module
from kd3d.recipes.clock import Clock
from kd3d.report.record import Record


@pytest.fixture
def at(monkeypatch):
    """Sets the time that the clock sees."""
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


def test_stages_add_up_over_commands(tmp_path, at):
    for number in (1, 2):
        clock = Clock(tmp_path, "demo", jobs=2)
        with clock.stage("data"):
            at.s += 5.0
        at.s += 100.0  # between the stages
        with clock.stage("runs"):
            at.s += 60.0
        record = Record.read(tmp_path / "record-recipe.json")
        expected = {"data_s": 5.0 * number, "runs_s": 60.0 * number, "wall_clock_s": 65.0 * number}
        assert record.metrics == expected
        assert record.conditions == {"jobs": 2, "commands": number}
        assert clock.total_s == 65.0 * number


def test_an_interrupted_stage_counts(tmp_path, at):
    def interrupted():
        with Clock(tmp_path, "demo", jobs=1).stage("runs"):
            at.s += 7.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert Clock(tmp_path, "demo", jobs=1).total_s == 7.0
