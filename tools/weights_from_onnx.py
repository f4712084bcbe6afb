"""Puts the weights of an ONNX file (batch norm folded) into a checkpoint of the same detector.

python tools/weights_from_onnx.py mmdet::yolox/yolox_nano_8xb8-300e_coco.py nano.onnx --out nano.pth

Convolutions are matched by their place in the data flow, so names and order may differ. Before
the checkpoint is written, every convolution's output is compared with the ONNX file's on random
input.
"""

import argparse
import io
from pathlib import Path

import torch

from kd3d.checkpoints import load_weights
from kd3d.configs import Options, load_config
from kd3d.errors import UserError, user_errors
from kd3d.export.detector import build_detector, class_names
from kd3d.export.graphs.graph_parts import load_onnx
from kd3d.export.graphs.onnx_weights import fixed_size, largest_difference, weights_from_onnx
from kd3d.export.preprocessing import input_channels, input_size
from kd3d.files import free_path, write_bytes

LIMIT = 1e-3  # of the largest absolute value of a convolution's output


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config of the detector, a path or mmdet::...")
    parser.add_argument("onnx", type=Path, help="ONNX file of the same network")
    parser.add_argument("--out", required=True, type=Path, metavar="PTH", help="checkpoint")
    parser.add_argument("--force", action="store_true", help="replace an existing checkpoint")
    parser.add_argument("--cfg-options", nargs="+", action=Options, help="key=value overrides")
    return parser.parse_args()


def main() -> None:
    """Writes the checkpoint if the detector equals the ONNX file."""
    args = parse_args()
    with user_errors():
        free_path(args.out, force=args.force)
        cfg = load_config(args.config, args.cfg_options)
        detector = build_detector(cfg)
        model = load_onnx(args.onnx)
        noise = torch.Generator().manual_seed(0)
        size = fixed_size(model) or input_size(cfg)
        example = torch.rand(1, input_channels(cfg), *size, generator=noise) * 255
        weights = weights_from_onnx(detector, model, example)
        load_weights(detector, weights, where=str(args.onnx))
        difference = largest_difference(detector, model, example)
        if not difference <= LIMIT:
            raise UserError(
                f"{args.onnx}: a convolution's output differs by {difference:.1e} of its largest "
                f"absolute value (limit {LIMIT:.0e}); the file computes something else than the "
                "config"
            )
        save_checkpoint(args.out, weights, class_names(cfg, {}, detector))
    print(f"outputs of all convolutions equal the file's to {difference:.1e} (relative)")
    print(f"wrote {args.out}")


def save_checkpoint(path: Path, weights: dict[str, torch.Tensor], classes: list[str]) -> None:
    """Writes a checkpoint as MMEngine does, whole or not at all."""
    content = io.BytesIO()
    meta = {"dataset_meta": {"classes": classes}}
    torch.save({"state_dict": weights, "meta": meta}, content)
    write_bytes(path, content.getvalue())


if __name__ == "__main__":
    main()
