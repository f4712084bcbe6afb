import contextlib
import time

import numpy as np
import pytest
from loopback_ssh import Wire
from toys_bundle import write_bundle

from kd3d.backends.bundle import Bundle
from kd3d.backends.remote import RemoteBackend
from kd3d.backends.ssh import Host
from kd3d.backends.vehicle_run import VehicleRun
from kd3d.errors import UserError


def test_it_answers_as_the_backend_there_and_finds_it_again(vehicle, tmp_path):
    bundle = Bundle.read(write_bundle(tmp_path / "bundle"))
    feeds, said = bundle.sample_feeds(), []
    with Wire(vehicle.port) as wire:
        host = vehicle.host(port=wire.port, pauses_s=(0.1,) * 4)
        backend = RemoteBackend(bundle, host, "onnxruntime", say=said.append)
        assert backend.name == "onnxruntime on 127.0.0.1"
        with backend:
            assert backend.device == "cpu of 127.0.0.1"
            np.testing.assert_allclose(backend.infer(feeds)["y"], bundle.expected_outputs()["y"])
            twice = {"x": np.repeat(feeds["x"], 3, axis=0) * 2}
            y = backend.infer(twice)["y"]
            np.testing.assert_allclose(y, np.repeat(bundle.expected_outputs()["y"], 3, axis=0) * 2)
            assert said == []
            wire.cut()
            np.testing.assert_allclose(backend.infer(feeds)["y"], bundle.expected_outputs()["y"])
            assert len(said) == 1
            with pytest.raises(UserError, match="input 'x': expected float32"):
                backend.infer({"x": feeds["x"].astype(np.float64)})
    assert vehicle.left_behind() == []


def test_a_backend_that_is_not_there_is_told(vehicle, tmp_path):
    bundle = Bundle.read(write_bundle(tmp_path / "bundle"))
    backend = RemoteBackend(bundle, vehicle.host(), "tensorrt", say=print)
    with pytest.raises(UserError, match="tensorrt"), backend:
        pass
    assert vehicle.left_behind() == []


def test_a_far_end_that_hangs_up_and_does_not_end_is_lost(monkeypatch, tmp_path):
    """The program closes its output and stays, as behind a jump host that does not let go."""
    bundle = Bundle.read(write_bundle(tmp_path / "bundle"))
    host, said = Host("orin", pauses_s=(0.0,)), []

    @contextlib.contextmanager
    def run(*arguments, **settings):
        yield VehicleRun(host, "run", {}, "cache")

    monkeypatch.setattr("kd3d.backends.remote.vehicle_run", run)
    monkeypatch.setattr(Host, "side", lambda self: ["/bin/sh", "-c", "exec >&-; sleep 50"])
    backend = RemoteBackend(bundle, host, "onnxruntime", say=said.append, patience_s=0.2)
    before = time.monotonic()
    with pytest.raises(UserError, match=r"orin: the far end does not end; gave up"), backend:
        pass
    assert 0.4 <= time.monotonic() - before < 20
    assert said == ["orin: the far end does not end; trying again in 0 s"]
