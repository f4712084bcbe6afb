"""Makes one table and one HTML page from the records below some folders.

Examples:
    python tools/report.py work_dirs/demo --out work_dirs/demo/report
    python tools/report.py work_dirs/many_labels work_dirs/few_labels --out work_dirs/report

Writes index.html (self-contained), report.md and records.json; of several whole recipes also a
page each. A report is derived from its
records, so an earlier report in --out is replaced without asking; other files never are.
"""

import argparse

from kd3d.errors import user_errors
from kd3d.report.output import write_report


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work_dirs", nargs="+", metavar="WORK_DIR", help="folder with records")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the report")
    parser.add_argument(
        "--force", action="store_true", help="replace files in --out that are no earlier report"
    )
    return parser.parse_args()


def main() -> None:
    """Parse, write, print the paths."""
    args = parse_args()
    with user_errors():
        for path in write_report(args.work_dirs, args.out, force=args.force):
            print(path)


if __name__ == "__main__":
    main()
