import numpy as np
import pytest
from toys_bundle import write_bundle
from toys_tensorrt import vehicle

from kd3d.backends.bundle import PRECISIONS, Bundle
from kd3d.backends.open_bundle import open_bundle
from kd3d.errors import UserError


def test_each_precision_is_its_own_file(tmp_path):
    bundle = Bundle.read(write_bundle(tmp_path, precisions=("fp32", "int8")))
    expected = bundle.expected_outputs()["y"]
    for precision, factor in (("fp32", 1), ("int8", 2)):
        opened = open_bundle(
            bundle, "onnxruntime", engines=tmp_path, precision=precision, threads=1
        )
        with opened as backend:
            y = backend.infer(bundle.sample_feeds())["y"]
        np.testing.assert_allclose(y, factor * expected, rtol=1e-5)


def test_precisions_share_what_tensorrt_has_measured(tmp_path, monkeypatch):
    bundle = Bundle.read(write_bundle(tmp_path, precisions=PRECISIONS, batch=1))
    car = vehicle(monkeypatch, "10.3.0")
    engines, tuned = tmp_path / "engines", []
    for precision in PRECISIONS:
        open_bundle(bundle, "tensorrt", engines=engines, precision=precision)
        tuned.append(car.world.tuned)
    assert car.world.builds == 3
    assert tuned == [tuned[0]] * 3  # files of the same layers, which the first has measured
    assert tuned[0] > 0
    assert [path.parent for path in engines.rglob("timing*.cache")] == [engines]


def test_an_engine_that_came_with_a_bundle_is_not_run(tmp_path, monkeypatch):
    """It is code, and all that its record must say is public."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = Bundle.read(write_bundle(tmp_path / "bundle", batch=1))
    car = vehicle(monkeypatch, "10.3.0")
    open_bundle(bundle, "tensorrt", engines=bundle.folder / "engines")
    open_bundle(bundle, "tensorrt")
    assert car.world.builds == 2
    open_bundle(bundle, "tensorrt")
    assert car.world.builds == 2


def test_mistakes_say_what_there_is(tmp_path):
    bundle = Bundle.read(write_bundle(tmp_path))
    with pytest.raises(UserError, match="expected one of onnxruntime, tensorrt"):
        open_bundle(bundle, "pytorch", engines=tmp_path)
    with pytest.raises(UserError, match="holds fp32, not 'int8'"):
        open_bundle(bundle, "onnxruntime", engines=tmp_path, precision="int8")
    (tmp_path / "model.onnx").write_bytes(b"another")
    with pytest.raises(UserError, match="SHA-256"):
        open_bundle(bundle, "onnxruntime", engines=tmp_path)
