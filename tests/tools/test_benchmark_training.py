"""tools/benchmark_training.py as a user starts it."""

import pytest


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--rounds", 1], "--rounds 1: quartiles need 2"),
        (["--batch", -1], "--batch -1, --size 256: expected at least 1"),
        (["--size", 0], "--batch 2, --size 0: expected at least 1"),
    ],
)
def test_steps_that_cannot_be_measured(refused, tmp_path, flags, says):
    assert refused("benchmark_training.py", *flags, "--out", tmp_path).startswith(says)
    assert list(tmp_path.iterdir()) == []
