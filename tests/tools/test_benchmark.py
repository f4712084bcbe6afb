"""tools/benchmark.py with a vehicle: a real sshd on the loopback."""

import json
from functools import partial

import pytest
from loopback_ssh import Wire
from toys_bundle import write_bundle

import kd3d.export.benchmark
from kd3d.backends.ssh import Host
from kd3d.report.record import Record

RECORD = "record-latency-onnxruntime-threads1-on-127.0.0.1.json"


@pytest.fixture
def measure(run, vehicle, monkeypatch):
    """Calls the tool for folders; pauses between attempts are short."""
    monkeypatch.setattr("kd3d.backends.host_arguments.Host", partial(Host, pauses_s=(0.1,)))
    host = vehicle.host()

    def call(*folders, port=vehicle.port):
        return run(
            *("benchmark.py", *folders, "--backend", "onnxruntime", "--threads", 1),
            *("--host", host.address, "--port", port, "--identity", host.identity),
            *("--ssh-config", host.config, "--remote-python", host.python),
        )

    return call


def test_what_is_whole_is_written_though_the_connection_is_lost_after_it(
    measure, vehicle, tmp_path, monkeypatch
):
    one, two = write_bundle(tmp_path / "one"), write_bundle(tmp_path / "two")
    measure_on_host = kd3d.export.benchmark.measure_on_host
    with Wire(vehicle.port) as wire:

        def lost_before_the_second(folder, *arguments, **settings):
            if folder == two:
                wire.end()
            return measure_on_host(folder, *arguments, **settings)

        monkeypatch.setattr(kd3d.export.benchmark, "measure_on_host", lost_before_the_second)
        done = measure(one, two, port=wire.port)
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "gave up" in done.stderr
    assert "one: onnxruntime fp32" in done.stdout
    assert done.stdout.endswith(f"wrote {one / RECORD}\n")
    assert Record.read(one / RECORD).conditions["host"] == "127.0.0.1"
    assert not (two / RECORD).exists()

    done = measure(two)  # the rest, when the vehicle is back
    assert done.returncode == 0
    assert done.stdout.endswith(f"wrote {two / RECORD}\n")
    assert vehicle.left_behind() == []


def test_a_folder_that_cannot_be_measured_is_told_before_the_first_is(measure, vehicle, tmp_path):
    one, two = write_bundle(tmp_path / "one"), write_bundle(tmp_path / "two")
    content = json.loads((two / "export.json").read_text())
    content["models"]["fp32"]["sha256"] = "0" * 64
    (two / "export.json").write_text(json.dumps(content))
    done = measure(one, two)
    assert done.returncode == 2
    assert "SHA-256" in done.stderr
    assert done.stdout == ""
    assert not vehicle.cache.exists()


def test_a_batch_that_a_file_does_not_take_is_told_before_anything_is_copied(
    measure, vehicle, tmp_path
):
    done = measure(write_bundle(tmp_path / "one", batch=1), "--batch", 2)
    assert done.returncode == 2
    assert "takes 1; export it with --batch 2" in done.stderr
    assert not vehicle.cache.exists()


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("steady", False, "NOT steady"),
        ("throttled", "oc3 +1 events", "THROTTLED (oc3 +1 events)"),
    ],
)
def test_a_flagged_run_does_not_pass_a_budget(run, tmp_path, monkeypatch, name, value, flag):
    """The exit code is what a fleet's CI reads; an unflagged run passes."""
    measure = kd3d.export.benchmark.measure_backends
    state = {"steady": True, "throttled": "no", name: value}

    def flagged(*arguments, **settings):
        found = measure(*arguments, **settings)
        for one in found:
            one.conditions["steady"] = state["steady"]
            one.environment["throttled"] = state["throttled"]
        return found

    monkeypatch.setattr(kd3d.export.benchmark, "measure_backends", flagged)
    tool = ("benchmark.py", write_bundle(tmp_path / "one"), "--backend", "onnxruntime")
    done = run(*tool, "--budget-ms", 1e6)
    assert "within the budget of 1e+06 ms, but does not count" in done.returncode
    assert flag in done.returncode  # text: Python prints it and exits with 1
    state.update(steady=True, throttled="no")
    assert run(*tool, "--budget-ms", 1e6, "--force").returncode == 0
