"""Makes the export folder of a pillar detector."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from kd3d.backends.base import Feeds
from kd3d.backends.bundle import MODEL_FILES, ModelFile
from kd3d.configs import type_name
from kd3d.export.detections.final_boxes3d import post_processing3d
from kd3d.export.folder import library_versions
from kd3d.export.graphs.onnx_model import onnx_from_model
from kd3d.export.manifest import CONFIG_FILE, WEIGHTS_FILE
from kd3d.export.networks.pillar_deployable import INPUT_NAMES, PillarDeployable, pillar_deployable
from kd3d.export.open_backend import backend_from_module
from kd3d.export.pillar_manifest import PillarManifest
from kd3d.export.point_clouds import Points, synthetic_cloud
from kd3d.export.preprocessing import jsonable, pipeline_steps
from kd3d.export.proof import Exported
from kd3d.export.sample import write_sample
from kd3d.export.splits import split_clouds
from kd3d.export.voxelization import network_feeds
from kd3d.files import write_text

_REAL_CLOUDS = 4
_SYNTHETIC_CLOUDS = 2
_PREPROCESSING = (
    "Load and filter points as 'pipeline' says; what concerns labels alone is left out. Points are "
    "(N, point_features) float32: x y z in metres in the LiDAR frame, then the other features that "
    "the pipeline loads, in its order and scale."
)


def export_pillars(
    detector: nn.Module,
    cfg: Config,
    folder: Path,
    *,
    batch: int,
    pillars: int | None = None,
    opset: int,
    classes: Sequence[str],
    source: Mapping[str, str],
) -> Exported:
    """Writes model.onnx, config.py, weights.pth, sample.npz and export.json.

    To compare with are frames of the config's test set where it is on this machine, and synthetic
    ones. The first of them is the sample.

    Args:
        detector: of mmdet3d, with its trained weights.
        cfg: its config.
        folder: to write into.
        batch: frames of a run.
        pillars: of every frame; None leaves their number free.
        opset: of the ONNX file.
        classes: names in the order of the labels.
        source: config, config_hash, checkpoint, checkpoint_hash.

    Raises:
        UserError: if the detector cannot be exported.
    """
    module = pillar_deployable(detector, batch=batch, pillars=pillars)
    features = module.example(1)[0].shape[2]
    real = split_clouds(cfg, "test", _REAL_CLOUDS)
    clouds = real + [synthetic_cloud(features, seed) for seed in range(_SYNTHETIC_CLOUDS)]
    model = trace_pillars(module, folder / MODEL_FILES["fp32"], opset=opset)
    write_text(folder / CONFIG_FILE, cfg.pretty_text)
    torch.save(detector.state_dict(), folder / WEIGHTS_FILE)
    kind = "test set" if real else "synthetic"
    given = {"sample": kind, "opset": opset, "classes": list(classes), **source}
    models = {"fp32": ModelFile.of(model)}
    manifest = _manifest(module, cfg, clouds[0], {**given, "models": models})
    sample = network_feeds([clouds[0]] * batch, manifest.voxelization)
    backend = backend_from_module(module, manifest)
    manifest = write_sample(folder, backend, manifest, sample, points=clouds[0])
    return Exported(folder, module, manifest, cloud_feeds(clouds, manifest), real=len(real))


def trace_pillars(module: PillarDeployable, path: Path, *, opset: int) -> Path:
    """The ONNX file of a pillar detector, whole or absent."""
    free, settings = not module.voxelization.filled, module.voxelization
    pillars = 7 if free else module.batch * settings.max_pillars  # any number will do where free
    return onnx_from_model(
        module,
        dict(zip(INPUT_NAMES, module.example(pillars), strict=True)),
        path,
        output_names=module.output_names,
        opset=opset,
        dynamic_axes={name: {0: "pillars"} for name in INPUT_NAMES} if free else None,
    )


def cloud_feeds(clouds: Sequence[Points], manifest: PillarManifest) -> list[Feeds]:
    """Inputs of one run for each cloud; a run of several frames goes on with the next clouds."""
    return [
        network_feeds(
            [clouds[(first + offset) % len(clouds)] for offset in range(manifest.batch)],
            manifest.voxelization,
        )
        for first in range(len(clouds))
    ]


def describe_points(cfg: Config) -> dict[str, Any]:
    """For export.json: everything between files and the points of a frame."""
    known = cfg.get("test_dataloader") or cfg.get("test_pipeline")
    steps = pipeline_steps(cfg) if known else []
    labels = ("Pack3DDetInputs", "LoadAnnotations3D", "ObjectRangeFilter", "ObjectNameFilter")
    kept = [jsonable(step) for step in steps if type_name(step) not in labels]
    return {"pipeline": kept, "steps": _PREPROCESSING}


def _manifest(
    module: PillarDeployable,
    cfg: Config,
    cloud: Points,
    given: Mapping[str, Any],  # Any: the fields of a manifest
) -> PillarManifest:
    pillars = len(network_feeds([cloud], module.voxelization)["num_points"])
    most = module.voxelization.max_pillars
    least = module.batch * most if module.voxelization.filled else 1
    return PillarManifest(
        batch=module.batch,
        point_features=int(module.example(1)[0].shape[2]),
        pillar_profile={
            "min": least,
            "opt": module.batch * pillars,
            "max": module.batch * most,
        },
        output_names=module.output_names,
        groups=module.groups,
        voxelization=module.voxelization,
        preprocessing=describe_points(cfg),
        postprocessing=post_processing3d(module.head),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        versions={**library_versions(), "mmdet3d": version("mmdet3d")},
        **given,
    )
