import signal
import time
from pathlib import Path

import pytest
from time_limits import TimeLimitError, folder_of, folders_without_limit, time_limit


def test_block_that_takes_too_long_is_stopped():
    with pytest.raises(TimeLimitError, match=r"longer than 0.05 s"), time_limit(0.05):
        time.sleep(5)


def test_nothing_is_left_behind():
    before = signal.getsignal(signal.SIGALRM)
    left_s, _ = signal.getitimer(signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    with time_limit(0.05):
        pass
    time.sleep(0.1)  # an alarm still set would end the test here
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    signal.setitimer(signal.ITIMER_REAL, left_s)


def test_folder_is_the_one_below_tests():
    tests = Path("project/tests")
    assert folder_of(tests / "test_imports.py", tests) == ""
    assert folder_of(tests / "losses/test_feature.py", tests) == "losses"
    assert folder_of(tests / "datasets/synthetic/test_shapes.py", tests) == "datasets"


def test_folder_without_limit_is_named(tmp_path):
    for name in ("losses/test_a.py", "tool_box/deep/test_b.py", "data_only/scene.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.touch()
    assert folders_without_limit(tmp_path) == ["tool_box"]
