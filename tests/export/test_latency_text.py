import re
from pathlib import Path

import pytest

from kd3d.export.benchmark import Job
from kd3d.export.latency_text import budget_misses, latency_text
from kd3d.report.record import Record

JOBS = [Job(Path("teacher"), "tensorrt", "fp16"), Job(Path("student"), "tensorrt", "int8")]
ENVIRONMENT = {
    "cpu": "ARMv8", "machine": "NVIDIA Jetson AGX Orin", "cores": "12", "gpu": "Orin",
    "gpu_sms": "16", "gpu_mhz": "1300.5", "emc_mhz": "3199", "power_mode": "MAXN",
    "l4t": "36.4.3", "temperature_after_c": "gpu 51.0", "gpu_processes": "", "throttled": "no",
}  # fmt: skip
CONDITIONS = {
    "device": "cuda", "input": "480x640", "batch": 1, "threads": "default", "steady": True,
    "warmup_runs": 20, "turns": 10,
}  # fmt: skip


def record(p50_ms, *, metrics=(), conditions=(), environment=()):
    times = {"p50_ms": p50_ms, "p90_ms": 1.5 * p50_ms, "p99_ms": 2 * p50_ms}
    ends = {"min_ms": 0.5 * p50_ms, "max_ms": 3 * p50_ms}
    counts = {"jitter_ms": 0.25, "throughput_fps": 1e3 / p50_ms, "iterations": 200.0}
    return Record(
        kind="latency",
        role="",
        name="",
        metrics={**times, **ends, **counts, **dict(metrics)},
        conditions={**CONDITIONS, **dict(conditions)},
        environment={**ENVIRONMENT, **dict(environment)},
    )


def test_rows_and_the_machine():
    lines = latency_text(JOBS, [record(10.0), record(4.0)]).splitlines()
    assert lines[0].split() == [
        "ms",
        "min",
        "p50",
        "p90",
        "p99",
        "max",
        "jitter",
        "frames/s",
        "of",
        "first",
    ]
    assert lines[1].startswith(
        "teacher: tensorrt fp16      5.00     10.00     15.00     20.00     30.00"
    )
    assert lines[2].split()[3:] == [
        "2.00",
        "4.00",
        "6.00",
        "8.00",
        "12.00",
        "0.25",
        "250.00",
        "0.40",
    ]
    assert lines[3] == (
        "teacher: tensorrt fp16: on cuda, input 480x640, batch 1, threads default, steady after "
        "20 runs, 200 measured in turns"
    )
    assert lines[-1] == (
        "ARMv8, cores 12, GPU Orin, SMs 16, GPU MHz 1300.5, memory MHz 3199, power mode MAXN, "
        "L4T 36.4.3, temperatures gpu 51.0"
    )


def test_what_a_reader_has_to_know_is_said():
    device = {f"{part}_p50_ms": 1.0 for part in ("device", "h2d", "d2h", "no_copies")}
    metrics = {**device, "device_p99_ms": 2.0, "power_w": 20.0, "energy_j": 0.1}
    conditions = {
        "cuda_graph": True, "power_source": "VDD_IN", "pillars": 900, "points": 12000,
        "steady": False, "device_steady": False,
    }  # fmt: skip
    voxels = {"voxelization_p50_ms": 6.0, "voxelization_p99_ms": 7.0}
    text = latency_text(
        JOBS[:1],
        [
            record(
                10.0,
                metrics={**metrics, **voxels},
                conditions=conditions,
                environment={"throttled": "oc3 +2 events", "gpu_processes": "Xorg"},
            )
        ],
    )
    for words in (
        "NOT steady after 20 runs",
        "device p50 1.00 ms, p99 2.00 ms; copies p50 1.00 ms there",
        "as a CUDA graph",
        "20.0 W, 0.100 J a run (VDD_IN)",
        "voxelization on the host: p50 6.00 ms, p99 7.00 ms, 12000 points to 900 pillars",
        "THROTTLED (oc3 +2 events)",
        "NOT steady on the device",
        "others on the GPU: Xorg",
    ):
        assert words in text


def test_budget_is_judged_by_the_chosen_metric():
    records = [record(10.0), record(4.0)]  # p99 20 and 8 ms
    assert budget_misses(JOBS, records, 20.0, "p99") == []
    assert budget_misses(JOBS, records, 9.0, "p99") == [
        "teacher: tensorrt fp16: p99 20.00 ms is over the budget of 9 ms"
    ]
    assert len(budget_misses(JOBS, records, 9.0, "max")) == 2
    assert budget_misses(JOBS, records, 11.0, "p50") == []
    assert len(budget_misses(JOBS, records, float("nan"), "p99")) == 2


THROTTLED = {"throttled": "oc3 +2 events"}


@pytest.mark.parametrize(
    ("conditions", "environment", "flags"),
    [
        ({}, THROTTLED, r"THROTTLED \(oc3 \+2 events\)"),
        ({"steady": False, "warmup_runs": 200}, {}, "NOT steady after 200 runs"),
        ({"steady": False}, THROTTLED, r"THROTTLED \(.*\) and NOT steady after 20 runs"),
    ],
)
def test_a_run_that_is_flagged_keeps_no_budget(conditions, environment, flags):
    good, bad = record(10.0), record(4.0, conditions=conditions, environment=environment)
    (miss,) = budget_misses(JOBS, [good, bad], 20.0, "p99")
    words = (
        r"student: tensorrt int8: p99 8\.00 ms is within the budget of 20 ms, but does not count"
    )
    assert re.match(rf"{words}: the run was {flags}; measure again", miss)
    (miss,) = budget_misses(JOBS[1:], [bad], 5.0, "p99")
    assert miss.endswith("over the budget of 5 ms")


@pytest.mark.parametrize("unknown", [{}, {"throttled": ""}])
def test_a_machine_that_cannot_tell_of_throttling_may_keep_a_budget(unknown):
    found = record(10.0, environment=unknown)
    if not unknown:
        del found.environment["throttled"]
    assert budget_misses(JOBS[:1], [found], 20.0, "p99") == []


@pytest.mark.parametrize(
    ("enqueue", "bound"),
    [({}, False), ({"enqueue_p50_ms": 0.9}, False), ({"enqueue_p50_ms": 1.0}, True)],
)
def test_a_gpu_that_waits_for_the_host_is_told(enqueue, bound):
    device = {f"{part}_p50_ms": 1.0 for part in ("device", "h2d", "d2h", "no_copies")}
    metrics = {**device, "device_p99_ms": 2.0, **enqueue}
    text = latency_text(JOBS[:1], [record(10.0, metrics=metrics)])
    assert ("BOUND BY THE HOST: it takes 1.00 ms (p50)" in text) == bound
