from toys_bundle import write_bundle
from toys_tensorrt import vehicle

from kd3d.backends.bundle import Bundle
from kd3d.backends.open_bundle import engine_cache
from kd3d.export.gate.candidates import Candidates


def test_parts_use_what_the_whole_files_engines_have_measured(tmp_path, monkeypatch):
    """A bisection builds an engine for each part: without it all is measured over and over."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = Bundle.read(write_bundle(tmp_path / "whole", batch=1))
    car = vehicle(monkeypatch, "10.3.0")
    candidates = Candidates(bundle, None, print)
    candidates.file("tensorrt", "fp32")
    measured = car.world.tuned
    assert measured > 0
    open_part = candidates.parts("tensorrt", tmp_path / "work")
    for _ in range(2):
        open_part(bundle.folder / "model.onnx")
    assert car.world.tuned == measured
    kept = list(engine_cache().rglob("*.engine"))
    assert len(kept) == 1  # those of parts are gone with their folder
