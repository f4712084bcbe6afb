import dataclasses
import os

from kd3d.profiling.board_state import gpu_processes, read_state, state_entries
from kd3d.profiling.system import System

ORIN = {
    "/sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "/sys/class/thermal/thermal_zone0/temp": "51250\n",
    "/sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "/sys/class/thermal/thermal_zone1/temp": "47500\n",
    "/sys/class/thermal/thermal_zone2/type": "cv0-thermal\n",
    "/sys/class/thermal/thermal_zone2/temp": "-256000\n",  # switched off
    "/sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "/sys/class/thermal/cooling_device0/cur_state": "3\n",
    "/sys/class/thermal/cooling_device1/type": "gpu-throttle-alert\n",
    "/sys/class/thermal/cooling_device1/cur_state": "0\n",
    "/sys/class/hwmon/hwmon3/name": "soctherm_oc\n",
    "/sys/class/hwmon/hwmon3/oc1_event_cnt": "0\n",
    "/sys/class/hwmon/hwmon3/oc3_event_cnt": "37\n",
    "/sys/class/devfreq/17000000.gpu/cur_freq": "1300500000\n",
    "/sys/kernel/debug/bpmp/debug/clk/emc/rate": "3199000000\n",
}


def test_a_cool_board(system):
    state = read_state(system(ORIN))
    assert state.temperatures_c == {"cpu": 51.25, "gpu": 47.5}
    assert (state.gpu_mhz, state.emc_mhz) == (1300.5, 3199.0)
    assert state.throttle_counts == {"oc1": 0.0, "oc3": 37.0}
    assert state.throttling == ()  # the fan is no throttle
    assert state_entries(state, state, state) == {
        "temperature_before_c": "cpu 51.2, gpu 47.5",
        "temperature_after_c": "cpu 51.2, gpu 47.5",
        "gpu_mhz": "1300.5",
        "emc_mhz": "3199",
        "throttled": "no",
    }


def test_clocks_are_read_before_anything_that_takes_time(system):
    """On an Orin without jetson_clocks an idle GPU's clock drops within milliseconds."""
    read = []

    class Told(System):
        def read(self, path):
            read.append(str(path))
            return super().read(path)

        def glob(self, pattern):
            read.append(pattern)
            return super().glob(pattern)

    board = system(ORIN)

    def run(command):
        read.append(command[0])
        return ""

    read_state(Told(board.root, run))
    gpu, emc, *rest = read
    assert gpu.endswith("17000000.gpu/cur_freq")
    assert emc.endswith("clk/emc/rate")
    assert {"nvidia-smi", "/sys/class/thermal/thermal_zone*"} <= set(rest)


def test_events_of_the_run_and_an_alert_are_flagged(system):
    before = read_state(system(ORIN))
    hot = {
        **ORIN,
        "/sys/class/thermal/cooling_device1/cur_state": "1\n",
        "/sys/class/hwmon/hwmon3/oc3_event_cnt": "40\n",
    }
    after = read_state(system(hot))
    expected = "gpu-throttle-alert, oc3 +3 events"
    assert state_entries(before, after, after)["throttled"] == expected
    assert state_entries(before, before, after)["throttled"] == expected  # after the last run
    cooled = dataclasses.replace(after, throttling=(), gpu_mhz=306.0, temperatures_c={"gpu": 44.0})
    entries = state_entries(before, after, cooled)
    assert entries["throttled"] == expected  # what was seen in between is kept
    assert (entries["gpu_mhz"], entries["temperature_after_c"]) == ("1300.5", "gpu 44.0")


def test_a_pc_tells_through_nvidia_smi(system):
    reasons = "clocks_throttle_reasons"
    programs = {
        f"--query-gpu={reasons}.sw_thermal": "Active, Not Active, Not Active\n",
        "--query-gpu=temperature.gpu": "83\n",
    }
    state = read_state(system(programs=programs))
    assert state.temperatures_c == {"gpu": 83.0}
    assert state.throttling == ("sw_thermal_slowdown",)


def test_what_is_unknown_is_empty(system):
    state = read_state(system())
    assert state.throttling is None
    assert set(state_entries(state, state, state).values()) == {""}


def test_a_counter_without_a_before_is_no_event(system):
    after = read_state(system(ORIN))
    before = dataclasses.replace(after, throttle_counts={})
    assert state_entries(before, after, after)["throttled"] == "no"


def test_others_on_the_gpu_are_named_and_we_are_not(system):
    own = os.getpid()
    nvmap = (
        "CLIENT                        PROCESS      PID        SIZE\n"
        "user                       gnome-shell     2110      123456K\n"
        f"user                            python    {own}      200000K\n"
        "total                                                323456K\n"
    )
    files = {
        "/sys/kernel/debug/nvmap/iovmm/clients": nvmap,
        "/proc/2110/comm": "gnome-shell\n",
        "/proc/3000/comm": "perception\n",
        "/proc/4000/comm": "sshd\n",
        f"/proc/{own}/comm": "python\n",
    }
    links = {
        "/proc/3000/fd/7": "/dev/nvhost-ctrl-gpu",
        "/proc/4000/fd/3": "/dev/null",
        f"/proc/{own}/fd/9": "/dev/nvidia0",
    }
    programs = {"--query-compute-apps": "5000\n[N/A]\n"}
    found = gpu_processes(system(files, programs, links))
    assert found == "gnome-shell, perception, process 5000"


def test_nobody_on_the_gpu(system):
    assert gpu_processes(system()) == ""
