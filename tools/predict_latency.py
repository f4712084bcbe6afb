"""Predicts the latency of an ONNX model on a board of the Orin family, without the board.

python tools/predict_latency.py model.onnx --device orin-agx-64gb --precision int8
python tools/predict_latency.py model.onnx --device orin-nx-16gb:25w --protocol python --batch 4
python tools/predict_latency.py model.onnx --device drive-orin --sms 8 --gpu-mhz 900 --json

MODEL needs no weights. What it states (float16 tensors, Q/DQ) is kept; a float32 model without Q/DQ
is taken as if converted to --precision, int8 in every layer that can be; a warning tells where the
file states something else. A free number of pillars is that of the sample, from the export.json
beside MODEL; else give --size pillars=N. Protocols: "engine" is the GPU compute time that trtexec
prints, "python" one synchronous call of a Python runtime without pre- and post-processing, "mlperf"
a SingleStream query with a CUDA graph. Power modes: NAME:MODE, or --sms, --gpu-mhz and --emc-mhz;
of Thor and DRIVE Orin MAXN alone is known.
The interval holds as often as it says on networks that the fit has not seen (the errors are in
kd3d/profiling/roofline_parameters.yaml). Latencies of DLAs are not predicted.
"""

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kd3d.command_line import count
from kd3d.errors import user_errors
from kd3d.files import free_path, write_json
from kd3d.profiling.devices import device_modes, device_names, load_device
from kd3d.profiling.prediction.input_sizes import check_sizes
from kd3d.profiling.prediction.layer_work import PRECISIONS
from kd3d.profiling.roofline import PROTOCOLS, Prediction, predict_latency

_FLOAT_TYPE = "of what int8 leaves in float [with Q/DQ the file's; else fp16, python: fp32]"


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    boards = ", ".join(f"{name} ({' '.join(device_modes(name))})" for name in device_names())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nBoards and their modes, the default first: {boards}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="ONNX file")
    parser.add_argument("--device", required=True, metavar="NAME[:MODE]", help="board")
    parser.add_argument("--precision", default="fp16", choices=PRECISIONS, help="[%(default)s]")
    parser.add_argument("--protocol", default="engine", choices=PROTOCOLS, help="[%(default)s]")
    parser.add_argument("--sms", type=int, help="multiprocessors on line")
    parser.add_argument("--gpu-mhz", type=float, help="clock of the GPU")
    parser.add_argument("--emc-mhz", type=float, help="clock of the memory")
    parser.add_argument("--batch", type=int, help="images or frames of a run [the file's, or 1]")
    parser.add_argument("--size", nargs="+", default=[], metavar="NAME=N", help="of free axes")
    parser.add_argument("--float-type", choices=("fp16", "fp32"), help=_FLOAT_TYPE)
    parser.add_argument("--top", type=count, default=12, help="layers in the table [%(default)s]")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON")
    parser.add_argument("--force", action="store_true", help="replace an earlier --out")
    return parser.parse_args()


def main() -> None:
    """Prints the prediction, and writes it with --out."""
    args = parse_args()
    with user_errors():
        if args.out:
            free_path(args.out, force=args.force)
        prediction = predict_latency(
            args.model,
            load_device(args.device),
            precision=args.precision,
            protocol=args.protocol,
            batch=args.batch,
            sms=args.sms,
            gpu_mhz=args.gpu_mhz,
            emc_mhz=args.emc_mhz,
            sizes=check_sizes(args.size),
            float_type=args.float_type,
        )
        if args.out:
            write_json(args.out, prediction.as_json())
    if args.json:
        print(json.dumps(prediction.as_json(), indent=1))
    else:
        _print(prediction, args.top)
        if args.out:
            print(f"wrote {args.out}")


def _print(prediction: Prediction, top: int) -> None:
    console = Console()
    table = Table(title=f"Layers that cost most, of {len(prediction.layers)}", box=None)
    table.add_column("layer", overflow="fold")
    for name in ("kind", "type", "us", "share", "bound", "GFLOP", "MB"):
        table.add_column(name, justify="left" if name in ("kind", "type", "bound") else "right")
    costly = sorted(prediction.layers, key=lambda layer: -layer.latency_us)[:top]
    for layer in costly:
        table.add_row(
            *(escape(layer.name), layer.kind, layer.math, f"{layer.latency_us:.1f}"),
            *(f"{layer.latency_us / prediction.gpu_ms / 10:.1f} %", layer.bound),
            *(f"{layer.gflops:.2f}", f"{layer.megabytes:.2f}"),
        )
    console.print(table)
    for warning in prediction.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)
    console.print(_summary(prediction), markup=False, highlight=False)


def _summary(p: Prediction) -> str:
    return (
        f"{p.device} ({p.sms} SM, GPU {p.gpu_mhz:g} MHz, EMC {p.emc_mhz:g} MHz), {p.types}, "
        f"{p.protocol}, batch {p.batch}: {p.total_ms:.2f} ms, "
        f"{p.coverage:.0%} between {p.low_ms:.2f} and {p.high_ms:.2f} ms "
        f"(kernels {p.gpu_ms:.2f}, waiting for the CPU {p.waiting_ms:.2f}, "
        f"harness {p.harness_ms:.2f}; {p.gflops:.1f} GFLOPs)"
    )


if __name__ == "__main__":
    main()
