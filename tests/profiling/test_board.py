"""Trees of files as NVIDIA documents them for Orin: L4T 35 (JetPack 5), 36 (6) and 39 (7)."""

import json

import pytest

from kd3d.profiling.board import board_settings, emc_mhz, gpu_mhz, jetpack_of

QUERY = "dpkg-query --show --showformat=${Version}"
CUDA = "kd3d.profiling.cuda_device"
JETPACK_5 = {
    "/etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, ...",
    "/usr/local/cuda/version.json": json.dumps({"cuda": {"version": "11.4.19"}}),
    "/sys/class/devfreq/17000000.ga10b/cur_freq": "305999999\n",
    "/sys/class/devfreq/17000000.ga10b/max_freq": "1300500000\n",
    "/sys/devices/gpu.0/tpc_pg_mask": "0\n",
    "/sys/kernel/nvpmodel_emc_cap/emc_iso_cap": "0\n",  # MAXN: no cap
    "/sys/kernel/debug/bpmp/debug/clk/emc/rate": "2133000000\n",
    "/sys/kernel/debug/bpmp/debug/clk/emc/max_rate": "3199000000\n",
    "/dev/nvhost-gpu": "",
}
JETPACK_6 = {
    "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, ...",
    "/usr/local/cuda/version.json": json.dumps({"cuda": {"version": "12.6.11"}}),
    "/sys/class/devfreq/17000000.gpu/cur_freq": "612000000\n",
    "/sys/class/devfreq/17000000.gpu/max_freq": "612000000\n",
    "/sys/devices/platform/gpu.0/tpc_pg_mask": "240\n",
    "/sys/kernel/nvpmodel_clk_cap/emc": "2133000000\n",  # debugfs is for root alone
    "/dev/nvmap": "",
}
JETPACK_7 = {
    "/etc/nv_tegra_release": "# R39 (release), REVISION: 2.0, GCID: 45000000, BOARD: generic, ...",
    "/usr/local/cuda/version.json": json.dumps({"cuda": {"version": "13.2.0"}}),
    "/sys/class/devfreq/gpu-gpc-0/cur_freq": "1575000000\n",
    "/sys/class/devfreq/gpu-gpc-0/max_freq": "1575000000\n",
    "/sys/kernel/nvpmodel_clk_cap/emc": "4266000000\n",
}


def orin(sms):
    return json.dumps({"gpu_name": "Orin", "gpu_sms": str(sms), "gpu_compute": "8.7"})


@pytest.mark.parametrize(
    ("files", "programs", "expected"),
    [
        (
            JETPACK_5,
            {f"{QUERY} nvidia-jetpack": "5.1.2-b104", "nvpmodel -q": "NV Power Mode: MAXN\n0\n",
             CUDA: orin(16)},
            {"l4t": "35.4.1", "jetpack": "5.1.2-b104", "cuda": "11.4.19", "power_mode": "MAXN",
             "gpu_name": "Orin", "gpu_sms": "16", "gpu_compute": "8.7", "gpu_max_mhz": "1300.5",
             "emc_max_mhz": "3199", "tpc_pg_mask": "0"},
        ),
        (
            JETPACK_6,
            {"nvpmodel -q": "NVPM ERROR: Error opening /sys/kernel/x: 13\nNV Power Mode: 15W\n2\n",
             CUDA: orin(8)},
            {"l4t": "36.4.3", "jetpack": "6.2 (by L4T)", "cuda": "12.6.11", "power_mode": "15W",
             "gpu_name": "Orin", "gpu_sms": "8", "gpu_compute": "8.7", "gpu_max_mhz": "612",
             "emc_max_mhz": "2133", "tpc_pg_mask": "240"},
        ),
        (
            JETPACK_7,
            {"nvidia-smi": "[N/A]\n"},
            {"l4t": "39.2.0", "jetpack": "7.2 (by L4T)", "cuda": "13.2.0",
             "power_mode": "", "gpu_name": "",
             "gpu_sms": "", "gpu_compute": "", "gpu_max_mhz": "1575", "emc_max_mhz": "4266",
             "tpc_pg_mask": ""},
        ),
    ],
    ids=["jetpack 5", "jetpack 6, no root", "jetpack 7, no driver"],
)  # fmt: skip
def test_settings_of_boards(system, files, programs, expected):
    assert board_settings(system(files, programs)) == expected


def test_clocks_of_this_moment(system):
    board = system(JETPACK_5)
    assert gpu_mhz(board) == pytest.approx(305.999999)
    assert emc_mhz(board) == 2133.0


def test_a_pc_is_asked_by_nvidia_smi(system):
    pc = system(
        programs={
            "--query-gpu=clocks.max.sm": "2100\n",
            "--query-gpu=clocks.max.memory": "7000\n",
            "--query-gpu=clocks.sm": "1800\n",
            "--query-gpu=clocks.mem": "[N/A]\n",
        }
    )
    found = board_settings(pc)
    assert (found["gpu_max_mhz"], found["emc_max_mhz"]) == ("2100", "7000")
    assert (gpu_mhz(pc), emc_mhz(pc)) == (1800.0, None)


def test_nothing_is_invented(system):
    assert set(board_settings(system()).values()) == {""}
    odd = {
        "/etc/nv_tegra_release": "garbage",
        "/usr/local/cuda/version.json": "[]",
        "/sys/class/devfreq/17000000.gpu/max_freq": "many",
    }
    assert set(board_settings(system(odd)).values()) == {""}


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        ("35.4.1", "5.1.2 (by L4T)"),
        ("35.6.2", "5.1.4 to 5.1.6 (by L4T)"),
        ("36.3.0", "6.0 (by L4T)"),
        ("36.30.0", ""),
        ("40.1.0", ""),
        ("", ""),
    ],
)
def test_jetpack_of_a_board_without_its_package(l4t, jetpack):
    assert jetpack_of(l4t) == jetpack
