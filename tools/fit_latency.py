"""Fits the latency predictor on published latencies and writes parameters and errors.

python tools/latency_networks/write_networks.py --out work_dirs/latency_networks
python tools/fit_latency.py --data DIR --networks work_dirs/latency_networks --force

DIR holds published_latency.csv; the table is read where it lies and stays there. The result goes to
kd3d/profiling/roofline_parameters.yaml (--out FILE for another place): the parameters, the rows
that were used or left out and why, and the errors on families and boards that a fit had not seen.
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kd3d.errors import UserError, user_errors
from kd3d.files import free_path, write_text
from kd3d.profiling.prediction.latency_fit import FitRow
from kd3d.profiling.prediction.latency_report import FitReport, fit_report
from kd3d.profiling.prediction.network_work import NetworkWork
from kd3d.profiling.prediction.published_rows import read_networks, read_rows
from kd3d.profiling.roofline import PARAMETERS_FILE


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of published_latency.csv")
    parser.add_argument("--networks", type=Path, required=True, help="folder of graphs, rows.csv")
    parser.add_argument("--out", type=Path, default=PARAMETERS_FILE, help="[%(default)s]")
    parser.add_argument("--force", action="store_true", help="replace the parameters in --out")
    parser.add_argument("--coverage", type=float, default=0.8, help="of the interval [0.8]")
    return parser.parse_args()


def main() -> None:
    """Prints the errors and writes the parameters."""
    args = parse_args()
    with user_errors():
        free_path(args.out, force=args.force)
        if not 0 < args.coverage < 1:
            raise UserError(f"--coverage {args.coverage}: expected a share between 0 and 1")
        rows, left = read_rows(
            args.data / "published_latency.csv", read_networks(args.networks / "rows.csv")
        )
        work = NetworkWork(args.networks)
        report = fit_report([FitRow.from_layers(row, work.of(row)) for row in rows], args.coverage)
        path = write_text(args.out, report.as_yaml(left))
    _print(report)
    print(f"wrote {path}")


def _print(report: FitReport) -> None:
    console = Console()
    for title, errors in report.errors.items():
        table = Table(title=f"left out: {title}; MAPE {errors['mape_percent']} %")
        for name in ("group", "rows", "MAPE %", "bias %"):
            table.add_column(name)
        for name, entry in errors["by"].items():
            table.add_row(
                name,
                *(f"{entry[k]}" for k in ("rows", "mape_percent", "bias_percent")),
            )
        console.print(table)
        console.print(f"rank correlation {errors['rank_correlation']}")
    console.print(
        f"the interval holds for {report.held:.0%} of the families, {report.coverage:.0%} promised"
    )


if __name__ == "__main__":
    main()
