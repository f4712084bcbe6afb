"""Compares two latency records: times and ratios, if environment and protocol are the same.

python tools/compare_latency.py old/record-latency-tensorrt.json new/record-latency-tensorrt.json

Otherwise, or if one was measured throttled or not steady, that is printed and the exit code is 2;
--force compares all the same. The model, the backend and the precision may differ: they are what is
compared. On a noisy machine measure both in one run instead:
tools/benchmark.py DIR DIR --backend onnxruntime
"""

import argparse
from pathlib import Path

from kd3d.errors import user_errors
from kd3d.profiling.comparison import comparison_text
from kd3d.report.record import Record


def main() -> None:
    """Reads two records, prints one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path, metavar="RECORD", help="made by tools/benchmark.py")
    parser.add_argument("second", type=Path, metavar="RECORD", help="compared with the first")
    parser.add_argument("--force", action="store_true", help="compare all the same")
    args = parser.parse_args()
    with user_errors():
        first, second = (Record.read(path) for path in (args.first, args.second))
        print(comparison_text(first, second, force=args.force))


if __name__ == "__main__":
    main()
