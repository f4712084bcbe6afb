"""The tools as a user starts them, on the toy detectors."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toys
from loopback_ssh import vehicle
from mmengine.config import Config

__all__ = ["vehicle"]  # an sshd, where there is one
ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"


@pytest.fixture(scope="session")
def tools():
    return TOOLS


@pytest.fixture
def run(monkeypatch, capsys):
    """Calls a tool's ``main()`` here; its exit code, and what it printed."""

    def call(tool, *arguments):
        spec = importlib.util.spec_from_file_location(f"tool_{Path(tool).stem}", TOOLS / tool)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            module.main()
        except SystemExit as ended:
            code = ended.code
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(tool, code, printed.out, printed.err)

    return call


@pytest.fixture(scope="session")
def start():
    """Starts a tool in a process of its own."""

    def popen(tool, *arguments):
        return subprocess.Popen(
            [sys.executable, str(TOOLS / tool), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            # a shell starts background jobs, these tests perhaps among them, deaf to SIGINT
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return popen


@pytest.fixture
def refused(run):
    """The one message with which a tool refuses what it was given."""

    def call(tool, *arguments):
        return the_error(run(tool, *arguments))

    return call


@pytest.fixture(scope="session")
def error_of():
    return the_error


def the_error(done):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    before, *errors = ("\n" + done.stderr).split("\nerror: ")
    assert len(errors) == 1, done.stderr
    assert "error:" not in before
    return errors[0].strip()


@pytest.fixture(scope="session")
def written():
    """Writes the config of a toy training below a folder; the file's path."""

    def write(folder, *, distilled=False, **changes):
        hooks = []
        if distilled:
            teacher = toys.teacher_config(folder / "teacher.py", toys.retinanet(8, 16))
            pairs = [toys.neck_pair(), toys.response_pair()]
            hooks = [toys.distill_hook(teacher, pairs)]
        path = folder / ("distilled.py" if distilled else "plain.py")
        model = changes.pop("model", toys.retinanet())
        Config(toys.training(folder, model, hooks=hooks, **changes)._cfg_dict).dump(path)
        return path

    return write
