import sys
import time
from pathlib import Path

import pytest

from kd3d.recipes.children import Child, Command, progress_of, training_progress


def start(tmp_path, code, **environment):
    command = Command("test", (sys.executable, "-c", code), tmp_path / "child.log")
    return Child(command, environment)


def ended(child):
    while child.exit_code is None:
        time.sleep(0.005)
    return child


def test_output_goes_to_the_log_and_the_tail_is_this_childs_own(tmp_path):
    ended(start(tmp_path, "print('first')"))
    child = ended(start(tmp_path, "import os; print(os.environ['TOY'])", TOY="second"))
    assert (tmp_path / "child.log").read_text() == "first\nsecond\n"
    assert child.tail() == "second\n"
    assert child.last_line() == "second"


def test_a_silent_child_has_a_last_line_too(tmp_path):
    child = ended(start(tmp_path, "raise SystemExit(3)"))
    assert child.exit_code == 3
    assert child.last_line() == "it printed nothing"


def test_stop_ends_it_with_all_it_started(tmp_path):
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    child = start(tmp_path, code)
    while not child.tail().strip():
        time.sleep(0.005)
    grandchild = int(child.tail())
    child.stop()
    assert child.exit_code != 0
    assert not _is_running(grandchild)


def _is_running(pid):
    for _ in range(200):  # the system takes a moment to end it
        status = Path(f"/proc/{pid}/stat")
        try:
            if status.read_text().rsplit(")", 1)[1].split()[0] == "Z":  # ended, not yet reaped
                return False
        except (ProcessLookupError, FileNotFoundError):
            return False
        time.sleep(0.005)
    return True


@pytest.mark.parametrize(
    ("printed", "epochs", "fraction", "text"),
    [
        ("", None, 0.0, "starting"),
        ("Iter(train) [ 10/40] loss: 3.0\nIter(train) [ 20/40] loss: 2.5", None, 0.5, "20/40"),
        ("Epoch(train)  [1][10/10] loss: 1\nEpoch(train) [2][ 5/10]", 2, 0.75, "epoch 2/2"),
        ("Epoch(train) [2][ 5/10]", None, 0.0, "starting"),
    ],
)
def test_progress_is_that_of_the_last_line(printed, epochs, fraction, text):
    progress = training_progress(printed, epochs)
    assert progress.fraction == pytest.approx(fraction)
    assert progress.text.startswith(text)


@pytest.mark.parametrize(
    ("settings", "printed", "fraction", "text"),
    [
        ({"trains": True}, "Iter(train) [ 10/40] loss: 3.0", 0.25, "10/40 loss 3"),
        ({}, "Epoch(test) [ 20/50]  eta: 0:01\nsaved 3/4 files", 0.4, "evaluation 20/50"),
        ({}, "reading 1/2", 0.0, "evaluation"),
        ({"speaks": True}, "train [##  ] 1/4\rtrain [### ] 3/4\n", 0.75, "train [### ] 3/4"),
        ({"speaks": True}, "made 12 of it", 0.0, "made 12 of it"),
        ({"speaks": True}, "0/0", 0.0, "0/0"),
        ({"speaks": True}, "", 0.0, "evaluation"),
        # a training among the commands that prepare a recipe
        ({"speaks": True}, "Iter(train) [ 10/40] loss: 3.0\nsaving", 0.25, "10/40 loss 3"),
    ],
)
def test_progress_of_any_command(settings, printed, fraction, text):
    progress = progress_of(Command("evaluation", (), Path("log"), **settings), printed)
    assert (progress.fraction, progress.text) == (pytest.approx(fraction), text)
