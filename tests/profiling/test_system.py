import sys

from kd3d.profiling.nvidia_smi import compute_processes, query_gpu
from kd3d.profiling.system import System, as_number, output_of


def test_output_of_programs():
    assert output_of([sys.executable, "-c", "print('yes')"]) == "yes\n"
    assert output_of([sys.executable, "-c", "print('yes'); raise SystemExit(1)"]) == ""
    assert output_of(["no-such-program-anywhere"]) == ""


def test_files_below_a_root(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "model").write_bytes(b"NVIDIA Jetson AGX Orin\0")
    system = System(tmp_path)
    assert system.read("/proc/model") == "NVIDIA Jetson AGX Orin"
    assert system.read("/proc/absent") == ""
    assert system.read("/proc") == ""
    assert system.number("/proc/model") is None
    assert system.glob("/proc/m*") == [tmp_path / "proc" / "model"]


def test_numbers():
    assert as_number("12.5") == 12.5
    assert as_number("[N/A]") is None


def test_nvidia_smi_answers_in_order_and_knows_not_all(system):
    asked = system(programs={"--query-gpu=a,b": "7, [N/A]\n8, 9\n"})
    assert query_gpu(asked, "a", "b") == ["7", ""]
    assert query_gpu(asked, "a", "b", "c") == ["", "", ""]  # refused
    assert query_gpu(system(), "a") == [""]
    assert compute_processes(system(programs={"compute-apps": "12\n34\n"})) == [12, 34]
