"""Parity of every exportable family in fp32, fp16 and int8, as one Markdown table.

python tests/family_parity.py                        # all families: minutes on one core
python tests/family_parity.py --families FCOS DETR

Each family is exported with its head, decoding and test settings, as thin as in the tests, with
random weights whose scores are spread; int8 is calibrated on drawn images or clouds.
Then the gate of tools/parity.py compares each file in ONNX Runtime with PyTorch, on the sample and
on images or clouds that were not calibrated on. Exit code 1 if a file departs.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import torch
from toys import traffic
from toys3d import lidar_frames
from toys_export import FRAMES, image_bundle, pillar_bundle
from toys_families import tiny_config, tiny_detector
from toys_pillars import MODELS as PILLARS

from kd3d.errors import user_errors
from kd3d.export.gate.parity_gate import Gate, Verdict, parity_gate
from kd3d.export.gate.parity_table import failed_levels
from kd3d.recipes.outlook import minutes

FAMILIES = {
    "RetinaNet": "retinanet",
    "GFL": "gfl",
    "FCOS": "fcos",
    "ATSS": "atss",
    "RTMDet": "rtmdet",
    "YOLOX": "yolox",
    "Faster R-CNN": "faster_rcnn",
    "DETR": "detr",
    "PointPillars": "pointpillars",
    "CenterPoint-pillar": "centerpoint",
}
COLUMNS = (
    "family",
    "precision",
    "largest relative difference of a tensor",
    "PyTorch's boxes found",
    "task metric",
    "verdict",
    "departs first at",
)


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Exports and judges one family after the other."""
    args = parse_args(arguments)
    torch.set_num_threads(1)  # on toys, threads wait for each other longer than they work
    start_s = time.monotonic()
    failed = 0
    show([COLUMNS, ("---",) * len(COLUMNS)])
    with user_errors():
        for done, name in enumerate(args.families, 1):
            say(f"{name}: exporting fp32, fp16, int8")
            with (
                tempfile.TemporaryDirectory(prefix="kd3d-families-") as folder,
                redirect_stdout(sys.stderr),  # pycocotools talks; stdout is the table alone
            ):
                bundle = export(FAMILIES[name], Path(folder))
                gate = parity_gate(bundle, backends=["onnxruntime"], say=say)
            show(rows(name, gate))
            for reason in gate.left_out:
                say(f"{name}: left out: {reason}")
            failed += not gate.passed
            left_s = (time.monotonic() - start_s) / done * (len(args.families) - done)
            say(f"{done} of {len(args.families)} families done, about {minutes(left_s)} left")
    if failed:
        raise SystemExit(f"parity failed: {failed} of {len(args.families)} families")


def show(table: Iterable[Sequence[str]]) -> None:
    """Rows go out as they are known: what an interrupted run has found is not lost."""
    for row in table:
        print(f"| {' | '.join(row)} |", flush=True)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def export(toy: str, folder: Path) -> Path:
    """The device bundle of a toy; its test set is another one than that of the calibration."""
    if toy in PILLARS:
        bundle = pillar_bundle(folder, toy)
        lidar_frames(folder / "data", frames=FRAMES, seed=1)
    else:
        cfg = tiny_config(toy)
        bundle = image_bundle(folder, tiny_detector(cfg), cfg)
        traffic(folder / "data", images=FRAMES, seed=1)
    return bundle


def rows(name: str, gate: Gate) -> Iterator[Sequence[str]]:
    """One for each file, and one for what export.json or sample.npz says wrongly."""
    for verdict in gate.verdicts:
        yield (name, *cells(verdict))
    for fault in gate.inputs.faults:
        yield (name, "all", "", "", "", f"FAILED: {fault}", "")


def cells(verdict: Verdict) -> Iterator[str]:
    """What the gate found of a file, from the second column on."""
    result, change, departure = verdict.parity, verdict.metric, verdict.departure
    boxes = result.boxes
    yield verdict.precision
    yield f"{max(tensor.max_relative for tensor in result.tensors.values()):.1e}"
    yield f"{boxes.reference_matched} of {boxes.reference}" + (
        "" if result.boxes_decide else ", not counted: scores tie"
    )
    yield f"{change.name} {change.reference:.1f} to {change.candidate:.1f}" if change else ""
    yield "passed" if verdict.passed else f"FAILED: {failed_levels(verdict)}"
    yield departure.first.layer if departure else ""


if __name__ == "__main__":
    main()
