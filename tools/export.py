"""Exports a detector of images or points to ONNX and proves that the file equals PyTorch.

python tools/export.py CONFIG CHECKPOINT --out work_dirs/export/student
python tools/export.py mmdet::yolox/yolox_nano_8xb8-300e_coco.py nano.pth --out nano --batch 1
python tools/export.py configs/det3d/centerpoint-pillar04_synthetic.py teacher.pth --out teacher

DIR receives model.onnx, export.json (inputs, outputs, pre- and post-processing, classes),
config.py, weights.pth and record-export.json (parity with PyTorch). NMS is not in the file;
export.json says how to do it. If parity fails, all of it goes to DIR.rejected, exit code 1.

The input size is fixed in the file (a vehicle's camera has one size, and TensorRT is fastest so).
Default: what the config's test pipeline makes of an image: the size it pads to (416x416 for
YOLOX-nano), or else the landscape size of its Resize rounded up to the pad divisor (800x1344 for
a scale of 1333x800). With images of one size give theirs after resizing: --input-size H W.

Pillar detectors of mmdet3d (CenterPoint, PointPillars) need no size. Their file takes any number
of pillars, of a fixed number of frames (--batch, default 1); voxelisation is left to the host and
described in export.json. Compared are frames of the test set, where it is here, and synthetic ones.
"""

import argparse
from pathlib import Path

from mmengine.config import Config

from kd3d.backends.parity import Parity
from kd3d.checkpoints import load_checkpoint
from kd3d.configs import Options, load_config
from kd3d.errors import UserError, user_errors
from kd3d.evaluation.accuracy import config_hash
from kd3d.export.deployable import deployable
from kd3d.export.detector import build_detector, class_names, load_weights
from kd3d.export.folder import replace_rejected, whole_folder, write_export
from kd3d.export.pillar_deployable import is_pillar_detector
from kd3d.export.pillar_export import export_pillars
from kd3d.export.preprocessing import image_input, input_size, sample_image
from kd3d.export.proof import (
    export_parity,
    parity_text,
    random_images,
    write_export_record,
)
from kd3d.files import sha256_of
from kd3d.report.record import ROLES


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config of the detector, a path or mmdet::...")
    parser.add_argument("checkpoint", help="its weights")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="export folder")
    parser.add_argument("--input-size", nargs=2, type=int, metavar=("H", "W"), help="px")
    parser.add_argument("--batch", type=int, help="a run; default: any number of images, 1 frame")
    parser.add_argument("--opset", type=int, default=17, help="13 to 17 (default %(default)s)")
    parser.add_argument("--image", nargs="*", default=[], help="real images for the parity check")
    parser.add_argument("--role", default="", choices=ROLES, help="for the record")
    parser.add_argument("--name", default="", help="of the run, for the record")
    parser.add_argument("--force", action="store_true", help="replace an earlier export")
    parser.add_argument("--cfg-options", nargs="+", action=Options, help="key=value overrides")
    return parser.parse_args()


def main() -> None:
    """Writes the export folder, or exits with 1 if the file is not equal to PyTorch."""
    args = parse_args()
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        with whole_folder(args.out, force=args.force) as folder:
            result = export(args, cfg, folder)
            if not result.passed:
                rejected = replace_rejected(folder, args.out)
    print(parity_text(result))
    if not result.passed:
        raise SystemExit(f"parity failed; the files are in {rejected}")
    print(f"wrote {args.out}")


def export(args: argparse.Namespace, cfg: Config, folder: Path) -> Parity:
    """Fills ``folder``, its record included."""
    detector = build_detector(cfg)
    checkpoint = load_checkpoint(args.checkpoint)
    load_weights(detector, checkpoint["state_dict"], args.checkpoint)
    settings = {
        "opset": args.opset,
        "classes": class_names(cfg, checkpoint, detector),
        "source": {
            "config": args.config,
            "config_hash": config_hash(cfg),
            "checkpoint": args.checkpoint,
            "checkpoint_hash": sha256_of(args.checkpoint),
        },
    }
    if is_pillar_detector(detector):
        if args.input_size or args.image:
            raise UserError("--input-size and --image are for images; this detector reads points")
        pillars = export_pillars(detector, cfg, folder, batch=args.batch or 1, **settings)
        write_export_record(folder, *pillars, role=args.role, name=args.name)
        return pillars[1]
    module = deployable(detector)
    size = tuple(args.input_size or input_size(cfg))
    manifest = write_export(module, cfg, folder, size=size, batch=args.batch, **settings)
    images = random_images(manifest, count=3)
    for path in args.image or sample_image(cfg):
        image = image_input(cfg, detector, path, manifest.input_size)
        images.append(image.repeat(manifest.batch or 1, axis=0))
    result = export_parity(module, folder, manifest, images)
    write_export_record(folder, manifest, result, role=args.role, name=args.name)
    return result


if __name__ == "__main__":
    main()
