"""No test here looks at the real clock."""

import pytest

from kd3d.profiling.latency import (
    SETTLING_RUNS,
    Latency,
    Warmup,
    drift,
    measure_in_turns,
    measure_latency,
    spread,
)

MS = 1_000_000  # nanoseconds


class FakeMachine:
    """A run takes as many ms as the next entry says; the last entry repeats."""

    def __init__(self, times_ms):
        self.times_ms = list(times_ms)
        self.now_ns = 0
        self.runs = 0

    def run(self):
        self.now_ns += round(self.times_ms[min(self.runs, len(self.times_ms) - 1)] * MS)
        self.runs += 1

    def clock(self):
        return self.now_ns


def measure(machine, **options):
    return measure_latency(machine.run, clock=machine.clock, **options)


def by_runs(window, tolerance, limit=50):
    """A warm-up to which time is nothing."""
    return Warmup(window, window_s=0, tolerance=tolerance, least_s=0, limit=limit, limit_s=0)


def test_warms_up_until_two_windows_agree():
    # medians of windows of 3 go 9, 6, 4 and then stay
    machine = FakeMachine([9, 9, 50, 6, 6, 6, 4, 4, 4, 4])
    latency = measure(machine, warmup=by_runs(3, 0.05))
    assert latency.steady
    assert latency.warmup_runs == 12
    assert latency.times_ms == [4.0] * 200
    assert machine.runs == 212


def test_a_fast_network_warms_up_for_a_second():
    """Clocks that climb for 0.9 s: 40 runs of it see nothing of that."""
    machine = FakeMachine([4.0] * 225 + [2.0])
    latency = measure(machine)
    assert latency.steady
    # windows of 0.25 s: three of 63 runs of 4 ms; 36 more with 53 of 2 ms; 125 of 2 ms
    assert latency.warmup_runs == 3 * 63 + 36 + 53 + 125
    assert latency.times_ms == [2.0] * 200


def test_warmup_is_bounded_in_runs_and_time_and_says_so():
    machine = FakeMachine(2.0**i for i in range(30))
    latency = measure(machine, warmup=by_runs(2, 0.1, limit=12))
    assert not latency.steady
    assert latency.warmup_runs == 12
    restless = FakeMachine([1.0, 1.0, 9.0, 9.0] * 10000)
    warmup = Warmup(window=2, window_s=0, tolerance=0.1, least_s=0.01, limit=2, limit_s=3)
    latency = measure(restless, warmup=warmup)
    assert not latency.steady
    assert sum(restless.times_ms[: latency.warmup_runs]) == pytest.approx(3000, abs=20)


@pytest.mark.parametrize(("second", "runs"), [(5.0, 2), (5.01, 3)])
def test_steady_allows_exactly_the_tolerance(second, runs):
    latency = measure(FakeMachine([4.0, second]), warmup=by_runs(1, 0.25))
    assert latency.warmup_runs == runs


def test_drift_is_that_of_the_last_quarter():
    times = [4.0] * 50 + [9.0] * 100 + [5.0] * 50
    assert drift(times) == pytest.approx(0.25)
    assert measure(FakeMachine([1.0])).drift == 0.0
    assert drift([3.0]) == 0.0


def test_metrics_of_known_times():
    # 1 to 101 ms: percentile q is 1 + q, the mean 51; 2 images in 51 ms
    metrics = Latency([float(t) for t in range(1, 102)], 0, True, batch=2).metrics()
    assert metrics == pytest.approx(
        {
            "p50_ms": 51.0,
            "p90_ms": 91.0,
            "p99_ms": 100.0,
            "min_ms": 1.0,
            "max_ms": 101.0,
            "jitter_ms": 1.0,
            "mean_ms": 51.0,
            "throughput_fps": 2000 / 51,
            "iterations": 101,
        }
    )


def test_progress_is_told_outside_the_measured_time():
    machine = FakeMachine([1.0])
    seen = []

    def progress(done, total):
        machine.now_ns += 1000 * MS
        seen.append((done, total))

    latency = measure(machine, iterations=250, progress=progress)
    assert latency.times_ms == [1.0] * 250
    assert seen[0] == (1, 250)
    assert seen[-1] == (250, 250)


def test_too_few_iterations_are_refused():
    with pytest.raises(ValueError, match="at least 200 iterations, got 199"):
        measure(FakeMachine([1.0]), iterations=199)


def test_jitter_is_what_a_run_differs_from_the_one_before():
    found = spread([2.0, 5.0, 4.0, 4.0], "device_")
    assert found["device_jitter_ms"] == pytest.approx((3.0 + 1.0 + 0.0) / 3)
    assert found["device_max_ms"] == 5.0
    assert spread([7.0])["jitter_ms"] == 0.0


class Row:
    """Several runs on one clock; says which ran, in order."""

    def __init__(self, times_ms):
        self.now_ns = 0
        self.order = []
        self.runs = [self._run(index, time_ms) for index, time_ms in enumerate(times_ms)]

    def _run(self, index, time_ms):
        def run():
            self.now_ns += round(time_ms * MS)
            self.order.append(index)

        return run

    def clock(self):
        return self.now_ns


def test_two_things_take_turns_and_the_order_turns_round():
    row = Row([1.0, 3.0])
    warmup = by_runs(2, 0.05)
    first, second = measure_in_turns(
        row.runs, batches=[1, 4], iterations=201, turns=2, warmup=warmup, clock=row.clock
    )
    assert (first.times_ms, second.times_ms) == ([1.0] * 201, [3.0] * 201)
    assert (first.warmup_runs, second.warmup_runs, second.batch) == (4, 4, 4)
    settled = SETTLING_RUNS
    expected = [0] * 4 + [1] * 4
    expected += [0] * (settled + 100) + [1] * (settled + 100)  # 201 halved
    expected += [1] * (settled + 101) + [0] * (settled + 101)
    assert row.order == expected


def test_a_machine_that_slows_down_is_slow_for_both():
    """Their ratio stays 2, although everything takes 3 times as long from the middle on."""
    row = Row([1.0, 2.0])
    plain = row.runs

    def slowing(run):
        def slow():
            before = row.now_ns
            run()
            if before > 2300 * MS:  # of 2000 for the warm-ups and 600 to measure
                row.now_ns += 2 * (row.now_ns - before)

        return slow

    first, second = measure_in_turns(
        [slowing(run) for run in plain], batches=[1, 1], turns=20, clock=row.clock
    )
    assert second.metrics()["mean_ms"] / first.metrics()["mean_ms"] == pytest.approx(2.0, rel=0.05)


def test_progress_counts_the_runs_of_all():
    row = Row([1.0, 1.0])
    seen = []
    measure_in_turns(
        row.runs, batches=[1, 1], clock=row.clock, progress=lambda *counts: seen.append(counts)
    )
    assert (seen[0], seen[-1], len(seen)) == ((1, 400), (400, 400), 400)
