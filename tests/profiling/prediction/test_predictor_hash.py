import dataclasses
import shutil

import pytest
from module_imports import MODULES, imports_of

from kd3d.profiling.prediction import predictor_hash as hashing
from kd3d.profiling.prediction.predictor_hash import predictor_hash
from kd3d.profiling.roofline import fitted

PREFIX = "kd3d.profiling."


def test_every_module_that_a_prediction_passes_through_counts():
    """From roofline on, along the imports."""
    found, waiting = set(), ["kd3d.profiling.roofline"]
    while waiting:
        name = waiting.pop()
        if name.startswith(PREFIX) and name not in found:
            found.add(name)
            waiting += imports_of(MODULES[name])
    names = {name.removeprefix(PREFIX).replace(".", "/") for name in found}
    assert names == set(hashing.MODULES)


def test_it_changes_with_a_fitted_number(monkeypatch):
    before = predictor_hash()
    parameters, interval = fitted()
    other = dataclasses.replace(parameters, memory=parameters.memory + 1e-3)
    monkeypatch.setattr(hashing, "fitted", lambda: (other, interval))
    assert predictor_hash() != before
    wider = {**interval, "log_half_width": interval["log_half_width"] + 1e-3}
    monkeypatch.setattr(hashing, "fitted", lambda: (parameters, wider))
    assert predictor_hash() != before
    monkeypatch.setattr(hashing, "fitted", lambda: (parameters, interval))
    assert predictor_hash() == before


@pytest.mark.parametrize("module", hashing.MODULES)
def test_it_changes_with_the_code(monkeypatch, tmp_path, module):
    before = predictor_hash()
    (tmp_path / "prediction").mkdir()
    for name in hashing.MODULES:
        shutil.copy(hashing._FOLDER / f"{name}.py", tmp_path / f"{name}.py")
    monkeypatch.setattr(hashing, "_FOLDER", tmp_path)
    assert predictor_hash() == before
    with (tmp_path / f"{module}.py").open("a") as file:
        file.write("_OVERLAP = 2.0\n")
    assert predictor_hash() != before
