"""Checks that every name of TensorRT and CUDA that kd3d uses exists, in the real bindings.

python tools/tensorrt_api/check_tensorrt_api.py --work-dir /tmp/tensorrt-api

Needs no GPU. Downloads from PyPI the bindings of TensorRT 8.5.2, 8.6.0, 10.3.0, 10.16.1 and 11.4.0
(1.4 GB, as wheels of 8.x come with everything) and the CUDA runtimes 11, 12 and 13; wants gcc,
and Python 3.10 or 3.8 in PATH for TensorRT 8. The names are read from kd3d's sources. What the
bindings have is written to tests/backends/tensorrt_api, from which the tests make their fakes.
"""

import argparse
import json
import sys
from pathlib import Path

from cuda_library import RUNTIMES, check_cuda
from trt_bindings import WHEELS, CheckError, surface_of_wheel
from trt_compare import missing_names, unknown_everywhere, used_part
from trt_used_names import sources_with_tensorrt, used_names

from kd3d.errors import UserError, user_errors
from kd3d.files import write_text

ROOT = Path(__file__).resolve().parents[2]


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work-dir", type=Path, required=True, help="keeps wheels and the rest")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "tests/backends/tensorrt_api", help="of the JSON files"
    )
    return parser.parse_args()


def main() -> None:
    """Prints one line a version; exit code 1 if a name is missing."""
    args = parse_args()
    with user_errors():
        try:
            problems = check(args.work_dir.resolve(), args.out)
        except CheckError as error:
            raise UserError(str(error)) from error
    print("\n".join(problems) or "every name exists")
    sys.exit(1 if problems else 0)


def check(work_dir: Path, out: Path) -> list[str]:
    """Compares each version, writes its part that is used, returns what is missing."""
    work_dir.mkdir(parents=True, exist_ok=True)
    sources = sources_with_tensorrt(ROOT / "kd3d")
    surfaces = []
    for wheel in WHEELS:
        print(f"{wheel.distribution} {wheel.version} ({wheel.board})", flush=True)
        surfaces.append(surface_of_wheel(wheel, work_dir))
    uses, problems = used_names(sources, surfaces[0])
    problems += unknown_everywhere(uses, surfaces)
    for surface in surfaces:
        missing = missing_names(uses, surface)
        part = json.dumps(used_part(uses, surface), indent=1, sort_keys=True) + "\n"
        path = write_text(out / f"{surface['tensorrt']}.json", part)
        found = len({(use.owner, use.name) for use in uses})
        print(f"TensorRT {surface['tensorrt']}: {found} names, {len(missing)} missing; {path}")
        problems += [f"TensorRT {surface['tensorrt']}: {text}" for text in missing]
    for requirement in RUNTIMES:
        missing, answer = check_cuda(requirement, work_dir)
        print(f"{requirement}: {len(missing)} functions missing; asked for GPUs: {answer}")
        problems += [f"{requirement}: {text}" for text in missing]
    return problems


if __name__ == "__main__":
    main()
