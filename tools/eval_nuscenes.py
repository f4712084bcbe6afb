"""Evaluates a nuScenes results file: NDS, mAP and errors, equal to the devkit's, in seconds.

python tools/eval_nuscenes.py results.json --dataroot D --version v1.0-mini --split mini_val --out E
python tools/eval_nuscenes.py results.json --dataroot D --version V --split S --official
"""

import argparse
from pathlib import Path

from kd3d.errors import user_errors
from kd3d.evaluation.nuscenes import (
    evaluate,
    load_ground_truth,
    protocol_of,
    read_results,
    result_table,
)
from kd3d.evaluation.nuscenes.official import comparison_table, official_comparison
from kd3d.evaluation.nuscenes.origin import origin_of
from kd3d.evaluation.nuscenes.record import write_results_record
from kd3d.files import free_path
from kd3d.report.record import ACCURACY_FILE, ROLES


def parse_args() -> argparse.Namespace:
    """Reads what to evaluate, on what, and where the record goes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", help="results file in nuScenes' format")
    parser.add_argument("--dataroot", required=True, help="folder of the data set")
    parser.add_argument("--version", required=True, help="folder of the tables in it")
    parser.add_argument("--split", required=True, help="nuScenes' own, or one of splits.json")
    parser.add_argument("--config", default="detection_cvpr_2019", help="protocol")
    parser.add_argument("--official", action="store_true", help="run the devkit too and compare")
    parser.add_argument("--out", help="folder for record and curves")
    parser.add_argument("--role", default="", choices=ROLES, help="for the record")
    parser.add_argument("--name", default="", help="of the run in its record")
    parser.add_argument("--force", action="store_true", help="replace a record in --out")
    return parser.parse_args()


def main() -> None:
    """Evaluates, prints the table and where the record lies; exits with 1 if the devkit differs."""
    args = parse_args()
    with user_errors():
        if args.out:
            free_path(Path(args.out) / ACCURACY_FILE, force=args.force)
        protocol = protocol_of(args.config)
        truth = load_ground_truth(args.dataroot, args.version, args.split)
        found = read_results(args.results, truth, split=args.split, protocol=protocol)
        result = evaluate(truth, found.boxes, protocol, matched_in=found.matched_in)
        data = {"data_root": args.dataroot, "version": args.version, "split": args.split}
        data |= origin_of(args.dataroot, args.version)
        print(result_table(result, data))
        if args.out:
            record = write_results_record(
                result, args.results, args.out, data=data, role=args.role, name=args.name
            )
            print(f"record: {record}")
        if args.official:
            rows = official_comparison(
                result, args.results, args.dataroot, version=args.version, split=args.split
            )
            print("\n" + comparison_table(rows))
            if not all(row.equal for row in rows):
                raise SystemExit(1)


if __name__ == "__main__":
    main()
