import pytest

from kd3d.profiling.power import PowerMeter, measure_energy, power_meter


def ina3221(hwmon, rails):
    """Files of one chip; a rail is (label, mV, mA)."""
    base = f"/sys/class/hwmon/{hwmon}"
    files = {f"{base}/name": "ina3221\n", f"{base}/in7_label": "sum of shunt voltages\n"}
    for channel, (label, millivolts, milliamperes) in enumerate(rails, 1):
        files[f"{base}/in{channel}_label"] = f"{label}\n"
        files[f"{base}/in{channel}_input"] = f"{millivolts}\n"
        files[f"{base}/curr{channel}_input"] = f"{milliamperes}\n"
    return files


def test_agx_orin_has_no_rail_of_all_and_the_memory_is_not_counted_twice(system):
    first = [("VDD_GPU_SOC", 5000, 2000), ("VDD_CPU_CV", 5000, 1000), ("VIN_SYS_5V0", 5000, 900)]
    second = [("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 5000, 300), ("NC", 0, 0)]
    meter = power_meter(system({**ina3221("hwmon3", first), **ina3221("hwmon4", second)}))
    assert meter.source == "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"
    assert meter.watts() == pytest.approx(10.0 + 5.0 + 4.5)


def test_orin_nx_has_one(system):
    rails = [("VDD_IN", 5000, 3000), ("VDD_CPU_GPU_CV", 5000, 1500), ("VDD_SOC", 5000, 600)]
    meter = power_meter(system(ina3221("hwmon1", rails)))
    assert (meter.source, meter.watts()) == ("VDD_IN", pytest.approx(15.0))


def test_other_chips_of_hwmon_are_no_meter(system):
    files = ina3221("hwmon0", [("VDD_IN", 5000, 3000)])
    files["/sys/class/hwmon/hwmon0/name"] = "nct6775\n"
    assert power_meter(system(files)).source == ""


def test_a_rail_that_cannot_be_read_any_more_is_no_power(system):
    files = ina3221("hwmon1", [("VDD_IN", 5000, 3000)])
    board = system(files)
    meter = power_meter(board)
    board.path("/sys/class/hwmon/hwmon1/curr1_input").unlink()
    assert meter.watts() is None


def test_a_pc_is_asked_by_nvidia_smi(system):
    meter = power_meter(system(programs={"--query-gpu=power.draw": "215.5\n"}))
    assert (meter.source, meter.watts()) == ("nvidia-smi", 215.5)


def test_nothing_measures_power_here(system):
    meter = power_meter(system())
    assert (meter.source, meter.watts()) == ("", None)
    assert measure_energy(lambda: pytest.fail("it was run"), meter) is None


def test_energy_is_power_by_time_by_runs():
    """4 runs of 2.5 s each until 8 s are over; 12 W all the time: 30 J a run."""
    now = [0.0]

    def run():
        now[0] += 2.5

    meter = PowerMeter("VDD_IN", lambda: 12.0, 0.001)
    energy = measure_energy(run, meter, seconds=8.0, clock=lambda: now[0])
    assert energy is not None
    assert (energy.runs, energy.seconds, energy.power_w) == (4, 10.0, 12.0)
    assert energy.run_j == pytest.approx(12.0 * 10.0 / 4)


def test_a_meter_that_fails_gives_no_energy():
    meter = PowerMeter("VDD_IN", lambda: None, 0.001)
    assert measure_energy(lambda: None, meter, seconds=0.0) is None
