"""Counts the multiply-adds of a config's LiDAR detector, and of its teachers, on one cloud.

Sparse convolutions count by the voxels that the cloud fills. Example, of a nuScenes sweep:
    python tools/multiply_adds.py CONFIG --points LIDAR_TOP.pcd.bin --features 5
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from kd3d.configs import distill_hooks, load_config
from kd3d.distill.teacher import drop_pretrained
from kd3d.errors import UserError, user_errors
from kd3d.profiling.costs.multiply_adds import multiply_adds


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a config file, or mmdet3d::...")
    parser.add_argument("--points", type=Path, required=True, help="a cloud of 32-bit floats")
    parser.add_argument("--features", type=int, default=4, help="numbers of each point there [4]")
    return parser.parse_args()


def read_cloud(path: Path, features: int) -> torch.Tensor:
    """(N, features) points; a UserError where the file does not hold whole ones."""
    numbers = np.fromfile(path, np.float32)
    if features < 1 or not numbers.size or numbers.size % features:
        raise UserError(
            f"--points {path}: its {numbers.size} numbers are no whole points of --features "
            f"{features}; KITTI's have 4, nuScenes' 5"
        )
    return torch.from_numpy(numbers).view(-1, features)


def detectors(config: Config) -> Iterator[tuple[str, Config]]:
    """The student, then its teachers."""
    yield "student", config
    for hook in distill_hooks(config):
        yield "teacher", load_config(hook["teacher"]["config"])


def build(config: Config) -> Any:  # Any: a detector of mmdet3d
    """The detector with whatever weights; they do not matter here."""
    drop_pretrained(config.model)
    with DefaultScope.overwrite_default_scope(config.get("default_scope", "mmdet3d")):
        return MODELS.build(config.model).eval()


def forward(model: Any, points: torch.Tensor) -> None:  # Any: a detector of mmdet3d
    """From points to what the head predicts, without decoding."""
    from mmdet3d.structures import Det3DDataSample

    batch = {"inputs": {"points": [points]}, "data_samples": [Det3DDataSample()]}
    inputs = model.data_preprocessor(batch, False)["inputs"]
    if hasattr(model, "pts_bbox_head"):
        model.pts_bbox_head(model.extract_feat(inputs, [{}])[1])
    else:
        model.bbox_head(model.extract_feat(inputs))


def main() -> None:
    """Prints a line for each detector."""
    args = parse()
    with user_errors(), torch.no_grad():
        cloud = read_cloud(args.points, args.features)
        for role, config in detectors(load_config(args.config)):
            model = build(config)
            encoder = config.model.get("pts_voxel_encoder") or config.model.voxel_encoder
            read = encoder.get("in_channels", args.features)
            if read > args.features:
                raise UserError(
                    f"--features {args.features}: the {role} reads {read} numbers of each point"
                )
            points = cloud[:, :read].contiguous()
            counts = multiply_adds(model, partial(forward, model, points))
            parts = ", ".join(f"{part} {count / 1e9:.2f}" for part, count in counts.items())
            weights = sum(parameter.numel() for parameter in model.parameters())
            total = counts.total() / 1e9
            print(
                f"{role}: {total:.1f} G multiply-adds ({parts}), {weights / 1e6:.2f} M parameters"
            )


if __name__ == "__main__":
    main()
