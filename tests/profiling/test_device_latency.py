import json
from contextlib import nullcontext

import pytest

from kd3d.backends.device_run import DeviceTimes
from kd3d.profiling.device_latency import engine_typing, measure_device

WARMUP = 200  # runs of 5 ms


class FakeRun:
    """Warm-up runs take 9 ms on the device, then 2 and 4 in turn; the copies 1 and 0.5.

    late: the last that many runs with copies take 3 ms more.
    restless: times without copies never settle.
    """

    def __init__(self, *, late=0, restless=False):
        self.with_copies = self.without = 0
        self.now_ns = 0
        self.late, self.restless = late, restless

    def timed(self, copies=True):
        if not copies:
            self.without += 1
            growth = 1.1 ** (self.without // 10) if self.restless else 1.0
            self.now_ns += round(3_000_000 * growth)
            return DeviceTimes(0.0, 2.0, 0.0, 0.1)
        self.now_ns += 5_000_000
        self.with_copies += 1
        device_ms = 9.0 if self.with_copies <= WARMUP else 2.0 + 2 * (self.with_copies % 2)
        if self.with_copies > WARMUP + 200 - self.late:
            device_ms += 3.0
        return DeviceTimes(1.0, device_ms, 0.5, 0.2)


class FakeBackend:
    def __init__(self, **options):
        self.run = FakeRun(**options)

    def prepare(self, feeds):
        return nullcontext(self.run)


def test_device_copies_and_host_apart_and_without_the_warm_up():
    backend = FakeBackend()
    found = measure_device(backend, {}, iterations=200, clock=lambda: backend.run.now_ns)
    assert backend.run.with_copies == WARMUP + 200
    assert found.steady
    assert found.drift == 0
    found = found.metrics
    assert found["device_p50_ms"] == pytest.approx(3.0)  # between 2 and 4
    assert (found["device_max_ms"], found["device_jitter_ms"]) == (4.0, 2.0)
    assert (found["h2d_p99_ms"], found["d2h_p50_ms"]) == (1.0, 0.5)
    assert (found["enqueue_p50_ms"], found["no_copies_p90_ms"]) == (0.2, 3.0)


@pytest.mark.parametrize(
    ("options", "steady", "drift"), [({"late": 60}, True, 1.0), ({"restless": True}, False, 0.0)]
)
def test_times_that_did_not_settle_are_told(options, steady, drift):
    backend = FakeBackend(**options)
    found = measure_device(backend, {}, iterations=200, clock=lambda: backend.run.now_ns)
    assert (found.steady, found.drift) == (steady, pytest.approx(drift))


def test_typing_of_an_engine(tmp_path):
    engine = tmp_path / "model.engine"
    assert engine_typing(engine) == ""
    record = tmp_path / "model.engine.json"
    record.write_text(json.dumps({"typing": "strongly typed"}))
    assert engine_typing(engine) == "strongly typed"
    record.write_text("half")
    assert engine_typing(engine) == ""
