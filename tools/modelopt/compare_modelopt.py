"""Quantises an exported file by NVIDIA's ModelOpt as well, and measures both by the task metric.

python tools/modelopt/compare_modelopt.py DIR --work-dir /tmp/modelopt --samples 128

DIR was written by tools/export.py with --precision fp32 int8, of fixed size (--batch 1, of points
--pillars N), and its config's test and training sets are on this machine. ModelOpt and the
versions of ONNX and ONNX Runtime that it wants go to an environment of their own in --work-dir
(700 MB from PyPI). It calibrates on the frames that kd3d calibrates on, on the CPU, by both of its
methods: every layer that it takes, and without those that kd3d's search leaves in float.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from modelopt_files import fixed_bundle, take_over, weighted_layers, write_calibration

from kd3d.command_line import count
from kd3d.errors import UserError, user_errors
from kd3d.export.gate.metric_parity import SampleMetric

# Its extra [onnx] brings CuPy and the GPU's ONNX Runtime, which need CUDA: what it takes from them
# on a CPU is here. torch is what this environment has.
PACKAGES = (
    *("nvidia-modelopt==0.47.0", "onnx==1.21.0", "onnxruntime==1.24.2", "onnxslim>=0.1.76"),
    *("onnx-graphsurgeon>=0.6.1", "onnxconverter-common~=1.16.0", "polygraphy>=0.53.4"),
    *("onnxscript", "cppimport", "lief", "ml_dtypes"),
)
METHODS = ("entropy", "max")


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="written by tools/export.py")
    parser.add_argument("--work-dir", type=Path, required=True, help="keeps the environment")
    parser.add_argument("--calibration", type=count, default=64, help="frames [%(default)s]")
    parser.add_argument("--samples", type=count, default=128, help="of the test set [%(default)s]")
    return parser.parse_args()


def main() -> None:
    """Prints one row of a Markdown table for each file."""
    args = parse_args()
    with user_errors():
        bundle = fixed_bundle(args.folder)
        metric = SampleMetric(args.folder, args.samples)
        if not metric.is_here():
            raise UserError(f"{args.folder}: the test set of its config is not on this machine")
        python = environment(args.work_dir.resolve())
        feeds = write_calibration(args.folder, args.calibration, args.work_dir / "calibration.npz")
        print("| file | layers with INT8 inputs | metric | samples |\n|---|---|---|---|")
        for precision in ("fp32", "int8"):
            row(f"kd3d {precision}", bundle.model_path(precision), metric, precision)
        for without in dict.fromkeys([(), bundle.models["int8"].kept_fp32]):
            for method in METHODS:
                name = f"{method}{'-kept' if without else ''}"
                copy = shutil.copytree(args.folder, args.work_dir / name, dirs_exist_ok=True)
                command = [*(str(python), "-m", "modelopt.onnx.quantization"), *_options(method)]
                command += ["--onnx_path", str(bundle.model_path("fp32").resolve())]
                command += ["--calibration_data_path", str(feeds.resolve())]
                command += ["--output_path", str((copy / "model-int8.onnx").resolve())]
                _run([*command, *(["--nodes_to_exclude", *without] if without else [])])
                take_over(copy)
                said = ", without what kd3d leaves in float" if without else ""
                row(
                    f"ModelOpt, {method}{said}",
                    copy / "model-int8.onnx",
                    SampleMetric(copy, args.samples),
                    "int8",
                )


def environment(work_dir: Path) -> Path:
    """The Python of ModelOpt's environment, made unless it is whole."""
    python, whole = work_dir / "venv/bin/python", work_dir / "venv/whole"
    if not whole.exists():
        print(f"installing {PACKAGES[0]} in {work_dir / 'venv'}", flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(work_dir / "venv")])
        torch = subprocess.run(
            [sys.executable, "-c", "import torch; print(torch.__version__.partition('+')[0])"],
            capture_output=True,
            text=True,
            check=True,
        )
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        _run([*pip, f"torch=={torch.stdout.strip()}", *PACKAGES])
        whole.touch()
    return python


def row(name: str, path: Path, metric: SampleMetric, precision: str) -> None:
    """Measures one file and prints it."""
    found = metric.measure("onnxruntime", precision)
    layers = sum(quantised for _, quantised in weighted_layers(path))
    value = f"{found.name} {found.value:.1f}"
    samples = f"{found.samples}{' synthetic' if found.synthetic else ''}"
    print(f"| {name} | {layers} | {value} | {samples} |", flush=True)


def _options(method: str) -> list[str]:
    return [
        *("--quantize_mode", "int8", "--high_precision_dtype", "fp32", "--calibration_eps", "cpu"),
        *("--calibration_method", method),
    ]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{' '.join(command[:6])} ...: {done.stderr.strip()[-2000:]}")


if __name__ == "__main__":
    main()
