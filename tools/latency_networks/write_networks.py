"""Writes the graphs of networks with published Orin latencies, for fitting the predictor.

The files hold operators and shapes and no weights. Beside them, rows.csv says for each published
row which file is meant, or why there is none. Example:
    python tools/latency_networks/write_networks.py --out work_dirs/latency_networks
"""

import argparse
import csv
import io
import time
from pathlib import Path

from networks import NETWORKS, gflops, parameters
from published_rows import ROWS

from kd3d.errors import UserError, user_errors
from kd3d.files import write_bytes, write_text


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the .onnx files")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these networks; all by default")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    return parser.parse_args()


def main() -> None:
    """Prints a line for each network written."""
    args = parse()
    with user_errors():
        unknown = sorted(set(args.only or ()) - set(NETWORKS))
        if unknown:
            raise UserError(f"--only {' '.join(unknown)}: expected of {', '.join(NETWORKS)}")
        args.out.mkdir(parents=True, exist_ok=True)
        _write_rows(args.out / "rows.csv")
        for name in args.only or NETWORKS:
            path = args.out / f"{name}.onnx"
            if path.exists() and not args.force:
                print(f"{name}: is there; --force writes it again")
                continue
            start = time.monotonic()
            module = NETWORKS[name].module()
            graph = NETWORKS[name].graph(module)
            write_bytes(path, graph.SerializeToString())
            print(
                f"{path}: {parameters(module) / 1e6:.2f} M parameters, {gflops(graph):.1f} GFLOPs "
                f"({time.monotonic() - start:.1f} s)",
                flush=True,
            )


def _write_rows(path: Path) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["model", "input", "network", "reason"])
    table.writerows([*key, row.network or "", row.reason] for key, row in ROWS.items())
    write_text(path, text.getvalue())


if __name__ == "__main__":
    main()
