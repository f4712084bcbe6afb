import pytest

from kd3d.backends.openmp import openmp_threads


@pytest.mark.parametrize(
    ("asked", "threads"), [("3", 3), ("", None), ("0", None), ("-2", None), ("4,2", None)]
)
def test_a_number_above_0_is_taken(asked, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert openmp_threads() == threads


def test_nothing_is_asked_for(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert openmp_threads() is None
