import dataclasses

import pytest

from kd3d.errors import UserError
from kd3d.profiling.comparison import comparison_text, differences
from kd3d.report.record import Record

ENVIRONMENT = {
    "machine": "NVIDIA Jetson AGX Orin",
    "power_mode": "MAXN",
    "gpu_mhz": "1300.5",
    "temperature_after_c": "gpu 51.0",
    "throttled": "no",
    "commit": "abc",
}
CONDITIONS = {"protocol": "2", "batch": 1, "backend": "tensorrt", "precision": "fp16"}


def record(p50_ms=4.0, *, environment=(), conditions=(), iterations=200.0, kind="latency"):
    return Record(
        kind=kind,
        role="",
        name="student",
        metrics={
            "p50_ms": p50_ms,
            "p99_ms": 2 * p50_ms,
            "d2h_p50_ms": 0.0,
            "iterations": iterations,
        },
        environment={**ENVIRONMENT, **dict(environment)},
        conditions={**CONDITIONS, **dict(conditions)},
    )


def test_what_is_compared_and_states_of_a_moment_may_differ():
    other = record(
        environment={"temperature_after_c": "gpu 63.0", "commit": "def", "gpu_mhz": "1290"},
        conditions={"backend": "onnxruntime", "precision": "int8"},
    )
    assert differences(record(), other) == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"environment": {"power_mode": "30W"}}, "environment: power_mode: MAXN | 30W"),
        ({"environment": {"gpu_mhz": "1200"}}, "environment: gpu_mhz: 1300.5 | 1200"),
        ({"environment": {"gpu_mhz": ""}}, "environment: gpu_mhz: 1300.5 | unknown"),
        (
            {"environment": {"throttled": "oc3 +2 events"}},
            "environment: throttled: no | oc3 +2 events",
        ),
        ({"environment": {"gpu_processes": "Xorg"}}, "environment: gpu_processes: unknown | Xorg"),
        ({"conditions": {"batch": 2}}, "protocol: batch: 1 | 2"),
        ({"conditions": {"protocol": "1"}}, "protocol: protocol: 2 | 1"),
        ({"iterations": 500.0}, "protocol: iterations: 200 | 500"),
    ],
)
def test_what_may_not(changes, line):
    other = record(**changes)
    assert differences(record(), other) == [line]
    with pytest.raises(UserError, match="cannot be compared:\n  ") as error:
        comparison_text(record(), other)
    assert f"DIFFERS, {line}" in str(error.value)
    assert "--force" in str(error.value)
    assert f"DIFFERS, {line}" in comparison_text(record(), other, force=True)


THROTTLED = {"environment": {"throttled": "oc3 +2 events"}}
NOT_STEADY = {"conditions": {"steady": False, "warmup_runs": 2000}}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (THROTTLED, "the run was THROTTLED (oc3 +2 events)"),
        (NOT_STEADY, "the run was NOT steady after 2000 runs"),
        ({"conditions": {"device_steady": False}}, "the run was NOT steady on the device"),
        (
            {"conditions": {"drift": -0.101}},
            "the run was NOT steady: -10% from its first quarter to its last",
        ),
        (
            {"conditions": {"device_drift": 0.25}},
            "the run was NOT steady on the device: +25% from its first quarter to its last",
        ),
    ],
)
def test_records_that_are_doubtful_alike_are_named_one_by_one(changes, line):
    both = record(**changes), record(3.0, **changes)
    assert differences(*both) == []
    lines = [f"DOUBTFUL, first: {line}", f"DOUBTFUL, second: {line}"]
    with pytest.raises(UserError, match="--force") as error:
        comparison_text(*both)
    assert str(error.value).splitlines()[1:3] == [f"  {one}" for one in lines]
    assert comparison_text(*both, force=True).splitlines()[:2] == lines


def test_the_one_of_two_that_is_doubtful_is_named():
    text = comparison_text(record(), record(**THROTTLED), force=True)
    assert "DOUBTFUL, second: the run was THROTTLED (oc3 +2 events)" in text
    assert "DOUBTFUL, first" not in text
    steady = {"conditions": {"steady": True, "warmup_runs": 100, "drift": 0.1}}
    assert "DOUBTFUL" not in comparison_text(record(**steady), record(**steady))


def test_ratios_are_second_over_first():
    lines = comparison_text(record(4.0), record(3.0, conditions={"precision": "int8"})).splitlines()
    assert lines[0] == "first: student, tensorrt, fp16"
    assert lines[1] == "second: student, tensorrt, int8"
    assert lines[3].split() == ["p50", "4.000", "3.000", "0.750"]
    assert lines[4].split() == ["p99", "8.000", "6.000", "0.750"]
    assert lines[5].split() == ["d2h_p50", "0.000", "0.000", "-"]
    assert len(lines) == 6


def test_only_latencies_are_compared():
    with pytest.raises(UserError, match="got kind 'export'"):
        comparison_text(record(), record(kind="export"))
    empty = dataclasses.replace(record(), metrics={})
    with pytest.raises(UserError, match="at least 200 iterations"):
        comparison_text(empty, record())
