"""Exports a detector of images or points to ONNX and proves that each file equals PyTorch.

python tools/export.py CONFIG CHECKPOINT --out work_dirs/export/student
python tools/export.py CONFIG CHECKPOINT --out student --precision fp32 fp16 int8
python tools/export.py mmdet::yolox/yolox_nano_8xb8-300e_coco.py nano.pth --out nano --batch 1
python tools/export.py configs/det3d/centerpoint-pillar04_synthetic.py teacher.pth --out teacher

DIR is a device bundle: model.onnx (fp32) and perhaps model-fp16.onnx and model-int8.onnx,
export.json (inputs, outputs, pre- and post-processing, classes, hashes), sample.npz (inputs, and
what PyTorch answers to them), config.py, weights.pth, and records of the parity with PyTorch. NMS
is not in the files; export.json says how to do it. If one of them fails parity, all of it goes to
DIR.rejected, exit code 1; DIR has those that passed. tools/parity.py DIR asks again, on other
backends and by the task metric.

Precision lives in the file. fp32 is always there: the others are made from it. fp16 keeps what is
fragile in fp32, found by measurement. int8 is calibrated on --calibration frames of the training
set through the test pipeline (the validation set where that is not here), or on --image.

The input size is fixed in the file (a vehicle's camera has one size, and TensorRT is fastest so).
Default: what the config's test pipeline makes of an image: the size it pads to (416x416 for
YOLOX-nano), or else the landscape size of its Resize rounded up to the pad divisor (800x1344 for
a scale of 1333x800). With images of one size give theirs after resizing: --input-size H W.

Pillar detectors of mmdet3d (CenterPoint, PointPillars) need no size. Their file takes any number
of pillars, of a fixed number of frames (--batch, default 1), or with --pillars N always N a frame:
the host fills up or cuts off. Voxelisation is left to it and described in export.json. Compared are
frames of the test set, where it is here, and made-up ones.
"""

import argparse
from pathlib import Path

from mmengine.config import Config

from kd3d.backends.bundle import PRECISIONS
from kd3d.checkpoints import load_checkpoint
from kd3d.command_line import count
from kd3d.configs import Options, load_config
from kd3d.errors import user_errors
from kd3d.export.detector_export import export_detector
from kd3d.export.folder import check_target
from kd3d.export.precisions import Outcome, add_precision, prove_precisions
from kd3d.export.proof import Exported
from kd3d.export.rejection import reject
from kd3d.files import whole_folder
from kd3d.report.record import ROLES

_IMAGE_SIZE = "px of an image before padding, if smaller (two-stage detectors, DETR)"
_INT8_ADVICE = "; try --calibration {} or more frames, or leave int8 out of --precision"


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config of the detector, a path or mmdet::...")
    parser.add_argument("checkpoint", help="its weights")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="export folder")
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=PRECISIONS)
    parser.add_argument(
        "--calibration", type=count, default=64, help="frames (default %(default)s)"
    )
    parser.add_argument("--input-size", nargs=2, type=int, metavar=("H", "W"), help="px")
    parser.add_argument("--image-size", nargs=2, type=int, metavar=("H", "W"), help=_IMAGE_SIZE)
    parser.add_argument("--batch", type=count, help="a run; default: any number of images, 1 frame")
    parser.add_argument("--pillars", type=count, help="of every frame; default: any number")
    parser.add_argument("--opset", type=int, default=17, help="13 to 17 (default %(default)s)")
    parser.add_argument("--image", nargs="*", default=[], help="real images to compare on")
    parser.add_argument("--role", default="", choices=ROLES, help="for the record")
    parser.add_argument("--name", default="", help="of the run, for the record")
    parser.add_argument("--force", action="store_true", help="replace an earlier export")
    parser.add_argument("--cfg-options", nargs="+", action=Options, help="key=value overrides")
    return parser.parse_args()


def main() -> None:
    """Writes the export folder; exits with 1 if a file is not equal to PyTorch."""
    args = parse_args()
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        check_target(args.out, force=args.force)
        with whole_folder(args.out) as folder:
            outcome = export(args, cfg, folder)
            failed = outcome.failed
            rejected = reject(outcome.exported, failed, args.out) if failed else None
    if outcome.passed:
        print(f"wrote {args.out}: {', '.join(outcome.passed)}")
    if failed:
        advice = _INT8_ADVICE.format(max(64, 2 * args.calibration)) if "int8" in failed else ""
        advice += "".join(f"; {name} was not made: {why}" for name, why in outcome.unmade.items())
        raise SystemExit(f"parity of {', '.join(failed)} failed; see {rejected}{advice}")


def export(args: argparse.Namespace, cfg: Config, folder: Path) -> Outcome:
    """Writes, compares and records each precision."""
    checkpoint = load_checkpoint(args.checkpoint)
    exported = export_detector(
        *(cfg, checkpoint, folder),
        names=(args.config, args.checkpoint),
        opset=args.opset,
        batch=args.batch,
        pillars=args.pillars,
        size=args.input_size,
        image_size=args.image_size,
        images=args.image,
    )

    def add(exported: Exported, precision: str) -> tuple[Exported, str]:
        data = {"calibration": args.calibration, "images": args.image}
        return add_precision(exported, precision, cfg, checkpoint, **data)

    return prove_precisions(exported, args.precision, add, role=args.role, name=args.name)


if __name__ == "__main__":
    main()
