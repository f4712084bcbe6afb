"""The gate before the vehicle: does every file of an export do what PyTorch does?

python tools/parity.py work_dirs/export/student
python tools/parity.py work_dirs/export/student --precision int8 --metric-samples 200
python tools/parity.py work_dirs/export/student --backends tensorrt --set score=0.05
python tools/parity.py work_dirs/export/student --host user@orin --precision fp16

Three levels, each with tolerances by precision (kd3d/backends/tolerances.py; --set NAME=VALUE
overrides one): tensors; final boxes after NMS, matched one to one; and the task metric (AP or NDS)
on --metric-samples of the config's test split, where it is here. Tensors are the outputs, each of
their levels by itself, and, of fp16 and int8, each channel of the last layers: it may be twice
(head_noise) as noisy as when the file was made, which export.json says, and is to be decoded as
model.onnx would decode it. export.json and sample.npz are compared with the detector, too. Asked
are the sample and --frames of the test split.

Where a file fails, its graph is cut to find the first layer that departs: model.onnx is compared
with the graph traced anew from the weights, every other file with model.onnx.

--host runs the candidates on a vehicle over OpenSSH, as tools/benchmark.py does, and the rest here.
To look inside a file, parts of its graph are sent; the vehicle forgets them.
Reference is PyTorch with the folder's weights.pth, or sample.npz where that was not copied along.
What cannot run here is left out and said, or an error if --backends names it. Every verdict goes
to DIR/record-parity-BACKEND-PRECISION[-on-HOST].json (HOST with --host), in the place of the last
one. Exit code 1 if one fails, with --strict also if anything was left out: for a fleet's CI.
"""

import argparse
from pathlib import Path

from rich.console import Console

from kd3d.backends.bundle import PRECISIONS
from kd3d.backends.host_arguments import add_host_arguments, host_from_args
from kd3d.errors import user_errors
from kd3d.export.gate.parity_gate import CANDIDATES, parity_gate, verdict_record
from kd3d.export.gate.parity_record import parity_record_file
from kd3d.export.gate.parity_table import gate_tables, tolerance_change


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="written by tools/export.py")
    parser.add_argument("--backends", nargs="+", choices=CANDIDATES, help="default: all here")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, help="default: all in DIR")
    parser.add_argument("--frames", type=int, default=4, help="of the test split (default 4)")
    parser.add_argument(
        "--metric-samples", type=int, default=50, help="0: no task metric (default %(default)s)"
    )
    parser.add_argument("--strict", action="store_true", help="what was left out fails, too")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="a tolerance")
    add_host_arguments(parser)
    args = parser.parse_args()
    for name in ("frames", "metric_samples"):
        if getattr(args, name) < 0:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: expected 0 or more")
    return args


def main() -> None:
    """Prints the tables, writes the records, and exits with 1 if anything departs."""
    args = parse_args()
    console, progress = Console(), Console(stderr=True)
    with user_errors():
        gate = parity_gate(
            args.folder,
            backends=args.backends,
            precisions=args.precision,
            frames=args.frames,
            metric_samples=args.metric_samples,
            changes=dict(tolerance_change(text) for text in args.set),
            host=host_from_args(args),
            say=lambda text: progress.print(text, style="dim", highlight=False),
        )
        for verdict in gate.verdicts:
            file = parity_record_file(verdict.backend, verdict.precision, gate.host)
            verdict_record(args.folder, gate, verdict).write(args.folder / file)
    for table in gate_tables(gate):
        console.print(table)
    strict = args.strict and gate.left_out
    if strict:
        console.print("FAILED --strict: something was left out", style="red")
    if strict or not gate.passed:
        raise SystemExit(1)
    print(f"parity passed; records in {args.folder}")


if __name__ == "__main__":
    main()
