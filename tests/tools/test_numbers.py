"""Numbers of the command line that no tool can work with are refused before any work."""

import pytest

EXPORT = ("export.py", "config.py", "weights.pth", "--out", "folder")
FIT = ("fit_student.py", "config.py", "--device", "thor")


@pytest.mark.parametrize(
    ("tool", "flag", "given"),
    [
        *((EXPORT, flag, given) for flag in ("--batch", "--calibration") for given in ("0", "-2")),
        ((*FIT, "--budget-ms", "5"), "--trials", "0"),
        (("predict_latency.py", "model.onnx", "--device", "thor"), "--top", "-1"),
        (("run_recipe.py", "recipe.py"), "--jobs", "0"),
        (("benchmark_training.py",), "--batch", "-1"),
        (("benchmark_training.py",), "--size", "1.5"),
        (("benchmark_nuscenes.py",), "--predictions", "many"),
    ],
)
def test_counts_start_at_one(run, tool, flag, given):
    done = run(*tool, flag, given)
    assert done.returncode == 2
    wanted = f"argument {flag}: expected a whole number from 1 on, got {given!r}\n"
    assert done.stderr.endswith(wanted)


@pytest.mark.parametrize("given", ["0", "-5", "nan", "inf", "much"])
@pytest.mark.parametrize("tool", [FIT, ("benchmark.py", "folder", "--backend", "onnxruntime")])
def test_a_budget_is_above_0(run, tool, given):
    done = run(*tool, "--budget-ms", given)
    assert done.returncode == 2
    assert done.stderr.endswith(f"--budget-ms: expected a number above 0, got {given!r}\n")
