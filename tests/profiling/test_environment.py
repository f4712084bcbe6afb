import ast
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import kd3d.profiling.environment
from kd3d import __version__
from kd3d.profiling.environment import environment

DISTRIBUTIONS = kd3d.profiling.environment._DISTRIBUTIONS
NAMES = {
    *("machine", "cpu", "cores", "threads", "memory_gb", "gpu", "os", "python"),
    *("l4t", "jetpack", "cuda", "power_mode", "gpu_sms", "gpu_compute", "gpu_max_mhz"),
    *("emc_max_mhz", "tpc_pg_mask"),
    *("torch", "mmengine", "mmcv", "mmdet", "onnx", "onnxruntime", "tensorrt", "kd3d", "commit"),
}


def test_every_entry_is_text_and_known_ones_are_right():
    found = environment()
    assert set(found) == NAMES
    assert all(isinstance(value, str) for value in found.values())
    assert found["kd3d"] == __version__
    assert found["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert int(found["cores"]) >= 1
    assert float(found["memory_gb"]) > 0


def test_a_missing_package_and_a_failing_command_are_empty(monkeypatch):
    absent = {key: ["no-such-distribution"] for key in ("torch", "tensorrt")}
    monkeypatch.setattr(kd3d.profiling.environment, "_DISTRIBUTIONS", absent)
    monkeypatch.setenv("PATH", "")  # neither git nor nvidia-smi
    found = environment()
    assert (found["torch"], found["gpu"], found["commit"]) == ("", "", "")


def test_threads_follow_openmp_where_torch_is_not_loaded(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert environment()["threads"] == "3"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_commit_of_a_foreign_repository_is_not_ours(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "kd3d"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr("kd3d.__file__", str(package / "__init__.py"))
    assert environment()["commit"] == ""


def test_it_parses_as_python_3_8_and_loads_nothing_heavy():
    source = Path(kd3d.profiling.environment.__file__).read_text()
    ast.parse(source, feature_version=(3, 8))
    code = (
        "import sys, kd3d.profiling.environment as e; e.environment();"
        "print([m for m in ('torch', 'numpy', 'mmengine') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_board_is_named_by_its_device_tree_and_its_driver(system):
    board = system(
        {
            "/proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
            "/etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 20.04.6 LTS"\n',
            "/proc/cpuinfo": "processor : 0\nmodel name : ARMv8 Processor rev 1 (v8l)\n",
            "/dev/nvmap": "",
        },
        {
            "kd3d.profiling.cuda_device": '{"gpu_name": "Orin", "gpu_sms": "16"}',
            "Version} libnvinfer8": "8.5.2-1+cuda11.4",
        },
    )
    found = environment(board)
    assert found["machine"] == "NVIDIA Jetson AGX Orin Developer Kit"
    assert (found["os"], found["cpu"]) == ("Ubuntu 20.04.6 LTS", "ARMv8 Processor rev 1 (v8l)")
    assert (found["gpu"], found["gpu_sms"]) == ("Orin", "16")
    assert found["tensorrt"] == "8.5.2-1+cuda11.4"  # from apt, which has no wheel


@pytest.mark.parametrize("installed", [["11"], ["10"], ["10", "8"], ["11", "10", "8"]])
def test_tensorrt_is_the_newest_that_apt_has(system, installed, monkeypatch):
    absent = {"tensorrt": ["no-such-distribution"]}
    monkeypatch.setattr(kd3d.profiling.environment, "_DISTRIBUTIONS", {**DISTRIBUTIONS, **absent})
    programs = {f"Version}} libnvinfer{major}": f"{major}.0.1-1+cuda" for major in installed}
    assert environment(system(programs=programs))["tensorrt"] == f"{installed[0]}.0.1-1+cuda"


def test_the_tensorrt_that_runs_counts_before_what_is_installed(system, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.3.0"))
    programs = {"Version} libnvinfer11": "11.4.0-1+cuda"}
    assert environment(system(programs=programs))["tensorrt"] == "10.3.0"
