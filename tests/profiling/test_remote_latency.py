"""A bundle measured through a real sshd with ONNX Runtime."""

import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from loopback_ssh import Wire
from toys_bundle import write_bundle

from kd3d.backends.ssh import Host
from kd3d.backends.vehicle_run import VehicleRun
from kd3d.errors import UserError
from kd3d.profiling.backend_latency import Options
from kd3d.profiling.remote_latency import measure_on_host

ROOT = Path(__file__).parents[2]
OPTIONS = Options(energy_s=0)


def measure(folder, host, **changes):
    settings = {"backends": ["onnxruntime"], "precisions": ["fp32"], "options": OPTIONS}
    return measure_on_host(folder, host, **{**settings, **changes})


def wait_for(condition, limit_s=30.0):
    limit = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_both_precisions_are_measured_and_nothing_stays_but_the_cache(vehicle, tmp_path):
    folder = write_bundle(tmp_path / "it's a bundle; $(touch x)", precisions=("fp32", "int8"))
    sent, steps = [], []
    found = measure(
        folder,
        vehicle.host(),
        precisions=["fp32", "int8"],
        options=Options(energy_s=0, threads=1),
        sent=lambda *counts: sent.append(counts),
        progress=lambda *counts: steps.append(counts),
    )
    assert [one.conditions["precision"] for one in found] == ["fp32", "int8"]
    for one in found:
        assert one.metrics["iterations"] == 200
        assert 0 < one.metrics["p50_ms"] <= one.metrics["p99_ms"] <= one.metrics["max_ms"]
        assert (one.conditions["backend"], one.conditions["device"]) == ("onnxruntime", "cpu")
        assert (one.conditions["threads"], one.conditions["turns"]) == (1, 10)
    assert sent[-1][0] == sent[-1][1] > 0
    assert steps == [] or steps[-1][1] == 400
    assert vehicle.left_behind() == []
    assert not list(vehicle.cache.rglob("runs/*"))
    sent.clear()
    measure(folder, vehicle.host(), sent=lambda *counts: sent.append(counts))
    assert sent == []  # all of it was there


def test_a_run_outlives_its_connection(vehicle, tmp_path):
    """The wire is cut while it measures; the same run is found again, and not a second one."""
    folder = write_bundle(tmp_path / "bundle", width=256)
    said, started = [], []
    with Wire(vehicle.port) as wire:

        def cut_while_it_runs():
            wait_for(lambda: list(vehicle.cache.glob("runs/*/progress")))
            started.extend(vehicle.cache.glob("runs/*"))
            wire.cut()

        cutter = threading.Thread(target=cut_while_it_runs)
        cutter.start()
        many = Options(iterations=40_000, energy_s=0)
        host = vehicle.host(port=wire.port, pauses_s=(0.1,) * 5)
        found = measure(folder, host, options=many, say=said.append)
        cutter.join()
    assert found[0].metrics["iterations"] == 40_000
    assert len(started) == 1
    assert len(said) == 1
    assert "trying again in 0.1 s" in said[0]
    assert vehicle.left_behind() == []


def test_connections_that_held_may_be_lost_more_often_than_there_are_pauses(vehicle, tmp_path):
    folder = write_bundle(tmp_path / "bundle", width=512)
    said = []
    with Wire(vehicle.port) as wire:

        def cut_thrice(*_):
            if len(said) < 3:
                wire.cut()

        found = measure(
            folder,
            vehicle.host(port=wire.port, pauses_s=(0.1,)),
            options=Options(iterations=100_000, energy_s=0, threads=1),
            say=said.append,
            progress=cut_thrice,
        )
    assert found[0].metrics["iterations"] == 100_000
    assert len(said) == 3
    assert vehicle.left_behind() == []


COMMAND = """
import sys
from pathlib import Path
from kd3d.backends.ssh import Host
from kd3d.errors import user_errors
from kd3d.profiling.backend_latency import Options
from kd3d.profiling.remote_latency import measure_on_host
folder, address, port, identity, config = sys.argv[1:]
host = Host(address, int(port), Path(identity), Path(config), sys.executable)
with user_errors():
    measure_on_host(folder, host, backends=["onnxruntime"], precisions=["fp32"],
                    options=Options(iterations=50_000_000, energy_s=0))
"""


def test_an_interrupt_stops_the_run(vehicle, tmp_path):
    """As a user does: a command, Ctrl-C while it measures."""
    folder = write_bundle(tmp_path / "bundle")
    host = vehicle.host()
    arguments = (folder, host.address, host.port, host.identity, host.config)
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # where the tests run in the background, SIGINT is ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_for(lambda: list(vehicle.cache.glob("runs/*/progress")), 60.0)
        (run,) = vehicle.cache.glob("runs/*")
        pid = int((run / "process").read_text().split()[0])
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in errors
    assert not list(vehicle.cache.glob("runs/*"))
    wait_for(lambda: not group_runs(pid))


def group_runs(group):
    """Whether any process of the group is left, other than as a zombie."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if fields[2] == str(group) and fields[0] != "Z":
            return True
    return False


def test_a_failure_there_is_told_in_one_line(vehicle, tmp_path):
    folder = write_bundle(tmp_path / "bundle")
    with pytest.raises(UserError, match="tensorrt") as error:
        measure(folder, vehicle.host(), backends=["tensorrt"])
    assert str(error.value).count("\n") == 0
    assert vehicle.left_behind() == []


def test_all_lines_of_a_failure_there_are_told(tmp_path, monkeypatch):
    log = "[W] cuDNN\nerror: TensorRT cannot build an engine:\nno workspace\nheld to it\n"
    ended = {"state": "ended", "code": "2", "log": log}
    monkeypatch.setattr("kd3d.profiling.remote_latency.ask", lambda *_, **__: None)
    monkeypatch.setattr("kd3d.profiling.remote_latency._follow", lambda *_: ended)
    host = Host("orin")

    @contextmanager
    def run(*_, **__):
        yield VehicleRun(host, "run", {}, "cache")

    monkeypatch.setattr("kd3d.profiling.remote_latency.vehicle_run", run)
    with pytest.raises(UserError) as error:
        measure(write_bundle(tmp_path), host)
    lines = "orin: TensorRT cannot build an engine:\nno workspace\nheld to it (exit code 2 there)"
    assert str(error.value) == lines


def test_a_changed_model_is_not_sent(vehicle, tmp_path):
    folder = write_bundle(tmp_path / "bundle")
    content = json.loads((folder / "export.json").read_text())
    content["models"]["fp32"]["sha256"] = "0" * 64
    (folder / "export.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="SHA-256"):
        measure(folder, vehicle.host())
    assert not vehicle.cache.exists()
