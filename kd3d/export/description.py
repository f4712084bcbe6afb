"""Does export.json say what the detector does, and sample.npz what PyTorch answers?

A file that equals PyTorch finds nothing if the vehicle prepares its input by other numbers.
"""

import json
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from kd3d.backends.base import Array
from kd3d.backends.bundle import Bundle
from kd3d.backends.parity import tensor_difference
from kd3d.backends.tolerances import TOLERANCES
from kd3d.export.detections.final_boxes3d import post_processing3d, settings_as_json
from kd3d.export.detector import config_classes
from kd3d.export.gate.comparison import align_of
from kd3d.export.manifest import Manifest
from kd3d.export.networks.deployable import Deployable
from kd3d.export.networks.pillar_deployable import PillarDeployable
from kd3d.export.pillar_export import describe_points
from kd3d.export.pillar_manifest import PillarManifest
from kd3d.export.preprocessing import describe_preprocessing

Entries = dict[str, Any]  # Any: JSON


def faults_of_description(
    bundle: Bundle,
    manifest: Manifest | PillarManifest,
    module: Deployable | PillarDeployable,
    cfg: Config,
    outputs: Mapping[str, Array],
) -> list[str]:
    """What is not as config.py and weights.pth of the same folder say; one line each.

    Args:
        bundle: the folder.
        manifest: of the folder.
        module: made from the folder's config and weights.
        cfg: config.py of the folder.
        outputs: what the module answers to the sample.
    """
    if isinstance(manifest, PillarManifest):
        assert isinstance(module, PillarDeployable)
        said, meant = _of_pillars(manifest, module, cfg)
    else:
        assert isinstance(module, Deployable)
        said, meant = _of_images(manifest, module, cfg)
    if classes := config_classes(cfg, module.detector):  # else the checkpoint's, or numbers
        said["classes"], meant["classes"] = manifest.classes, classes
    faults = [
        f"export.json: {entry} is {found}, the config says {expected}"
        for entry, found, expected in _different(_plain(said), _plain(meant))
    ]
    limit = TOLERANCES["fp32"].relative
    align, recorded = align_of(manifest, TOLERANCES["fp32"]), bundle.expected_outputs()
    for name, found in (align(outputs, recorded) if align else recorded).items():
        difference = tensor_difference(outputs[name], found)
        if not difference.max_relative <= limit:
            faults.append(
                f"sample.npz: output '{name}' differs from PyTorch's by "
                f"{difference.max_relative:.1e} of its range (limit {limit:.0e})"
            )
    return faults


def _of_images(manifest: Manifest, module: Deployable, cfg: Config) -> tuple[Entries, Entries]:
    said = {
        "preprocessing": manifest.preprocessing,
        "postprocessing": manifest.postprocessing.as_json(),
        "outputs": manifest.output_names,
    }
    meant = {
        "preprocessing": describe_preprocessing(cfg),
        "postprocessing": module.postprocessing.as_json(),
        "outputs": module.output_names,
    }
    return said, meant


def _of_pillars(
    manifest: PillarManifest, module: PillarDeployable, cfg: Config
) -> tuple[Entries, Entries]:
    said = {
        "preprocessing": manifest.preprocessing,
        "voxelization": vars(manifest.voxelization),
        "postprocessing": settings_as_json(manifest.postprocessing),
        "groups": manifest.groups,
        "outputs": manifest.output_names,
    }
    meant = {
        "preprocessing": describe_points(cfg),
        "voxelization": vars(module.voxelization),
        "postprocessing": settings_as_json(post_processing3d(module.head)),
        "groups": module.groups,
        "outputs": module.output_names,
    }
    return said, meant


def _different(said: Any, meant: Any, entry: str = "") -> list[tuple[str, Any, Any]]:
    """(entry, what is said, what is meant) of every leaf that differs."""
    if isinstance(said, dict) and isinstance(meant, dict):
        return [
            found
            for key in sorted(said.keys() | meant.keys())
            for found in _different(said.get(key), meant.get(key), f"{entry}.{key}".lstrip("."))
        ]
    return [] if said == meant else [(entry, said, meant)]


def _plain(entries: Entries) -> Entries:
    """As JSON reads it back: tuples are lists."""
    found: Entries = json.loads(json.dumps(entries, default=str))
    return found
