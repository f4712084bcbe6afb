import os
import sys

import pytest

from kd3d.errors import UserError
from kd3d.recipes.children import Command
from kd3d.recipes.crew import Crew, Machine, finish, run_all

FIRST_LINE = "print('Iter(train) [ 25/100]  loss: 0.5', flush=True)"


def python(tmp_path, code, **settings):
    return Command("toy", (sys.executable, "-c", code), tmp_path / "log", **settings)


def test_a_command_follows_the_one_before(tmp_path, tools):
    said = []
    with Crew(tools.machine(), said.append) as crew:
        finish(crew, "x", [python(tmp_path, f"print({n})") for n in (1, 2)])
        assert crew.is_idle
    assert (tmp_path / "log").read_text() == "1\n2\n"
    assert said == ["x: toy", "x: toy"]


def test_two_jobs_are_at_work_together(tmp_path, tools):
    """Each ends only when it has seen the other."""
    code = """if True:
        import pathlib, time
        pathlib.Path({mine!r}).touch()
        while not pathlib.Path({other!r}).exists():
            time.sleep(0.01)
    """
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    commands = {
        "a": python(tmp_path, code.format(mine=a, other=b)),
        "b": python(tmp_path, code.format(mine=b, other=a)),
    }
    with Crew(tools.machine(jobs=2), print) as crew:
        run_all(crew, commands)
        assert crew.is_idle


def test_with_one_job_they_follow_each_other(tmp_path, tools):
    code = "import time; print('begin', flush=True); time.sleep(0.1); print('end')"
    with Crew(tools.machine(), print) as crew:
        run_all(crew, {name: python(tmp_path, code) for name in "ab"})
    assert (tmp_path / "log").read_text() == "begin\nend\n" * 2


def test_after_a_failure_nothing_follows_and_nothing_is_left(tmp_path, tools):
    sleeper = python(tmp_path, "import time; time.sleep(60)")
    failing = [
        python(tmp_path, "raise SystemExit('error: no')"),
        python(tmp_path, "print('never')"),
    ]
    with Crew(tools.machine(jobs=2), print) as crew:
        crew.start("long", iter([sleeper]))
        child = crew._active[0].child
        crew.start("bad", iter(failing))
        with pytest.raises(UserError, match=r"bad: toy failed with exit code 1\n.*error: no"):
            crew.wait()
    assert child.exit_code is not None
    assert "never" not in (tmp_path / "log").read_text()


def test_progress_is_said_with_the_outlook(tmp_path, tools):
    go = tmp_path / "go"
    wait = (
        f"{FIRST_LINE}\nimport os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.005)"
    )
    said, seen = [], []

    def outlook(active):
        assert [(a.name, a.trains) for a in active] == [("run", True)]
        seen.append(active[0].fraction)
        if active[0].fraction:
            go.touch()
        return " | soon"

    with Crew(tools.machine(report_s=0.0), said.append) as crew:
        crew.start("run", iter([python(tmp_path, wait, trains=True)]))
        crew.wait(outlook)
    assert 0.25 in seen
    assert "  run 25/100 loss 0.5 | soon" in said


def test_jobs_share_the_cores(monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert Machine(tools=tmp_path, jobs=3).environment["OMP_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in Machine(tools=tmp_path, jobs=1).environment
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert "OMP_NUM_THREADS" not in Machine(tools=tmp_path, jobs=3).environment


def test_several_processes_start_through_torchrun(tmp_path):
    assert Machine(tools=tmp_path, processes=2).training("c.py", "--seed", 1)[1:] == (
        *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
        *(f"{tmp_path}/train.py", "c.py", "--seed", "1", "--launcher", "pytorch"),
    )
    assert Machine(tools=tmp_path).training("c.py")[1:] == (f"{tmp_path}/train.py", "c.py")
