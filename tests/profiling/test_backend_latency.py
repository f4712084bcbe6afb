import numpy as np
import pytest
from fake_tensorrt import VERSIONS
from toys_tensorrt import PROFILES, feeds, vehicle, write_onnx

from kd3d.backends.engine import engine_from_onnx
from kd3d.backends.layer_times import LayerTime
from kd3d.backends.trt import TrtBackend
from kd3d.profiling.backend_latency import Arm, Options, measure_backends
from kd3d.profiling.device_latency import DeviceLatency
from kd3d.profiling.latency import PROTOCOL

MS = 1_000_000


class Clock:
    now_ns = 0

    def __call__(self):
        return self.now_ns


class Toy:
    """A backend that takes ``time_ms``; infer outside its with block fails."""

    name, device = "toy", "cpu"

    def __init__(self, clock, time_ms):
        self.clock, self.time_ms, self.entered, self.closed = clock, time_ms, False, 0

    def __enter__(self):
        self.entered = True
        return self

    def __exit__(self, *exception):
        self.entered = False
        self.closed += 1

    def infer(self, feeds):
        assert self.entered
        self.clock.now_ns += round(self.time_ms * MS)
        return {"y": feeds["x"]}


class ToyTrt(TrtBackend):
    """As above, and with layers."""

    def __init__(self, clock, path):
        self.clock, self.path, self.cuda_graph = clock, path, True

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._run = None

    def infer(self, feeds):
        self.clock.now_ns += MS
        return {}

    def layer_times(self, feeds):
        return [LayerTime("conv", 0.5, "CaskConvolution", "FP16")]


def arm(backend, **conditions):
    return Arm(backend, {"x": np.zeros(1)}, 2, {"precision": "fp32", **conditions})


def test_two_backends_in_turns_on_one_environment(system):
    clock = Clock()
    fast, slow = Toy(clock, 2.0), Toy(clock, 8.0)
    zone = "/sys/class/thermal/thermal_zone0"
    board = system({f"{zone}/type": "gpu-thermal", f"{zone}/temp": "41000"})
    found = measure_backends(
        [arm(fast), arm(slow, threads=1)], Options(), system=board, clock=clock
    )
    assert [one.metrics["p50_ms"] for one in found] == [2.0, 8.0]
    assert found[0].metrics["throughput_fps"] == pytest.approx(2 / 2e-3)
    assert found[0].environment == found[1].environment
    assert found[0].environment["temperature_after_c"] == "gpu 41.0"
    assert found[1].conditions == {
        "precision": "fp32",
        "threads": 1,
        "backend": "toy",
        "device": "cpu",
        "batch": 2,
        "protocol": PROTOCOL,
        "turns": 10,
        "clock": "time.perf_counter_ns",
        "warmup_runs": 128,  # of 8 ms: windows of 32, for a second
        "steady": True,
        "drift": 0.0,
    }
    assert (fast.closed, slow.closed) == (1, 1)
    assert "energy_j" not in found[0].metrics  # nothing measures power


def test_clocks_are_those_of_the_last_run_and_not_of_what_follows_it(system):
    """The progress file of a vehicle is written after the last run: the GPU is idle meanwhile."""
    clock, rate = Clock(), "/sys/class/devfreq/17000000.gpu/cur_freq"
    board = system({rate: "306000000"})

    class Busy(Toy):
        def infer(self, feeds):
            board.path(rate).write_text("1300500000")
            return super().infer(feeds)

    told = []

    def idle(done, total):
        told.append((done, total))
        board.path(rate).write_text("306000000")

    arms = [arm(Busy(clock, 1.0)), arm(Busy(clock, 2.0))]
    found = measure_backends(arms, Options(), system=board, clock=clock, progress=idle)
    assert [one.environment["gpu_mhz"] for one in found] == ["1300.5"] * 2
    assert told == [(done, 400) for done in range(1, 401)]


def test_backends_are_closed_when_one_fails(system):
    clock = Clock()
    good, bad = Toy(clock, 1.0), Toy(clock, 1.0)
    bad.infer = lambda feeds: 1 / 0
    with pytest.raises(ZeroDivisionError):
        measure_backends([arm(good), arm(bad)], Options(), system=system(), clock=clock)
    assert (good.closed, bad.closed) == (1, 1)


def test_energy_where_the_board_measures_power(system):
    chip = "/sys/class/hwmon/hwmon1"
    files = {
        f"{chip}/name": "ina3221",
        f"{chip}/in1_label": "VDD_IN",
        f"{chip}/in1_input": "5000",
        f"{chip}/curr1_input": "2000",
    }
    clock = Clock()
    options = Options(energy_s=0.01)
    found = measure_backends([arm(Toy(clock, 1.0))], options, system=system(files), clock=clock)[0]
    assert found.metrics["power_w"] == found.metrics["idle_power_w"] == pytest.approx(10.0)
    assert found.metrics["energy_j"] > 0
    assert found.conditions["power_source"] == "VDD_IN"
    assert found.conditions["turns"] == 1


def test_tensorrt_tells_device_and_layers(system, tmp_path, monkeypatch):
    asked = {}

    def measure(backend, feeds, **settings):
        asked.update(settings)
        return DeviceLatency({"device_p50_ms": 0.7}, steady=False, drift=0.02)

    monkeypatch.setattr("kd3d.profiling.backend_latency.measure_device", measure)
    clock = Clock()
    backend = ToyTrt(clock, tmp_path / "model.engine")
    options = Options(iterations=250, layers=True)
    found = measure_backends([arm(backend)], options, system=system(), clock=clock)[0]
    assert asked == {"iterations": 250, "clock": clock}
    assert found.metrics["device_p50_ms"] == 0.7
    layer = {"name": "conv", "ms": 0.5, "kind": "CaskConvolution", "precision": "FP16"}
    assert found.layers == [layer]
    assert found.conditions["cuda_graph"] is True
    assert found.conditions["device_steady"] is False
    assert found.conditions["device_drift"] == 0.02
    assert found.conditions["clock"] == "time.perf_counter_ns, CUDA events"


def test_throttling_while_layers_are_measured_is_flagged(system, tmp_path, monkeypatch):
    counter = "/sys/class/hwmon/hwmon3/oc3_event_cnt"
    board = system({counter: "37"})

    class Hot(ToyTrt):
        def layer_times(self, feeds):
            board.path(counter).write_text("39")
            return super().layer_times(feeds)

    steady = DeviceLatency({}, steady=True, drift=0.0)
    monkeypatch.setattr("kd3d.profiling.backend_latency.measure_device", lambda *a, **k: steady)
    clock = Clock()
    arms = [arm(Toy(clock, 1.0)), arm(Hot(clock, tmp_path / "model.engine"))]
    found = measure_backends(arms, Options(layers=True), system=board, clock=clock)
    assert [one.environment["throttled"] for one in found] == ["oc3 +2 events"] * 2


@pytest.mark.parametrize("version", VERSIONS)
def test_every_tensorrt_is_measured_by_one_protocol(system, tmp_path, monkeypatch, version):
    """The API of each version, ONNX Runtime's arithmetic; kernels take 1 ms, each copy 0.25."""
    car = vehicle(monkeypatch, version)
    path = write_onnx(tmp_path / "model.onnx", "fp16")
    engine = engine_from_onnx(path, tmp_path / "engines", profiles=PROFILES)
    backend, options = TrtBackend(engine, cuda_graph=True), Options(layers=True)
    (found,) = measure_backends([Arm(backend, feeds(2), 2, {})], options, system=system())
    assert found.metrics["device_p50_ms"] == pytest.approx(1.0)
    assert found.metrics["h2d_p99_ms"] == pytest.approx(0.25 * len(backend.inputs))
    assert found.metrics["d2h_max_ms"] == pytest.approx(0.25 * len(backend.output_names))
    assert found.metrics["no_copies_p50_ms"] > 0
    assert found.conditions["typing"].startswith("weakly" if version[0] == "8" else "strongly")
    assert (found.conditions["backend"], found.conditions["device"]) == ("tensorrt", "cuda")
    assert found.conditions["cuda_graph"] is True
    assert car.cudart.launches > found.metrics["iterations"] * 3  # the host's latency, too
    assert found.layers
    assert set(found.layers[0]) == {"name", "ms", "kind", "precision"}
    assert car.cudart.live() == 0  # all was given back
