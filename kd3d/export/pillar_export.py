"""Makes the export folder of a pillar detector, and proves that its file is right."""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from numpy.typing import NDArray
from torch import nn

from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.parity import BoxArrays, Parity, parity
from kd3d.export.final_boxes3d import post_processing3d
from kd3d.export.folder import library_versions
from kd3d.export.manifest import CONFIG_FILE, MODEL_FILE, WEIGHTS_FILE
from kd3d.export.onnx_model import onnx_from_inputs
from kd3d.export.open_backend import backend_from_module
from kd3d.export.pillar_deployable import INPUT_NAMES, PillarDeployable, pillar_deployable
from kd3d.export.pillar_manifest import PillarManifest
from kd3d.export.point_clouds import Points, dataset_clouds, synthetic_cloud
from kd3d.export.preprocessing import jsonable, pipeline_steps
from kd3d.export.row_order import in_reference_order
from kd3d.export.voxelization import network_feeds
from kd3d.files import sha256_of, write_text

SAMPLE_FILE = "sample.npz"
_SYNTHETIC_CLOUDS = 3
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
    opset: int,
    classes: Sequence[str],
    source: Mapping[str, str],
) -> tuple[PillarManifest, Parity]:
    """Writes model.onnx, config.py, weights.pth, sample.npz and export.json, and compares.

    Compared are frames of the config's test set where it is on this machine, and synthetic ones.
    The first of them is the sample: its points, and the boxes that PyTorch finds in it.

    Args:
        detector: of mmdet3d, with its trained weights.
        cfg: its config.
        folder: to write into.
        batch: frames of a run.
        opset: of the ONNX file.
        classes: names in the order of the labels.
        source: config, config_hash, checkpoint, checkpoint_hash.

    Raises:
        UserError: if the detector cannot be exported.
    """
    module = pillar_deployable(detector, batch=batch)
    features = module.example(1)[0].shape[2]
    real = dataset_clouds(cfg)
    clouds = real + [synthetic_cloud(features, seed) for seed in range(_SYNTHETIC_CLOUDS)]
    onnx_from_inputs(
        module,
        dict(zip(INPUT_NAMES, module.example(7), strict=True)),
        folder / MODEL_FILE,
        output_names=module.output_names,
        opset=opset,
        dynamic_axes={name: {0: "pillars"} for name in INPUT_NAMES},
    )
    write_text(folder / CONFIG_FILE, cfg.pretty_text)
    torch.save(detector.state_dict(), folder / WEIGHTS_FILE)
    kind = "test set" if real else "synthetic"
    given = {"sample": kind, "opset": opset, "classes": list(classes), **source}
    manifest = _manifest(module, cfg, folder, clouds[0], given)
    manifest.write(folder)
    _write_sample(module, manifest, folder, clouds[0])
    return manifest, pillar_parity(module, folder, manifest, clouds)


def pillar_parity(
    module: PillarDeployable, folder: Path, manifest: PillarManifest, clouds: Sequence[Points]
) -> Parity:
    """Compares model.onnx in ONNX Runtime with the PyTorch module, tensors and final boxes.

    Args:
        module: what was exported.
        folder: holds model.onnx.
        manifest: of the folder.
        clouds: frames; each run takes as many as the batch, starting with each of them.
    """
    feeds = [
        network_feeds(
            [clouds[(first + offset) % len(clouds)] for offset in range(manifest.batch)],
            manifest.voxelization,
        )
        for first in range(len(clouds))
    ]
    return parity(
        backend_from_module(module, manifest),
        OnnxRuntimeBackend(folder / MODEL_FILE),
        feeds,
        detect=partial(_detect, manifest),
        align=partial(in_reference_order, groups=manifest.groups),
    )


def sample_points(folder: str | Path) -> Points:
    """(N, C) points of the frame in sample.npz."""
    with np.load(Path(folder) / SAMPLE_FILE) as sample:
        points: Points = sample["points"]
    return points


def _detect(
    manifest: PillarManifest, outputs: Mapping[str, NDArray[np.generic]]
) -> list[BoxArrays]:
    found = []
    for frame in range(manifest.batch):
        boxes = manifest.postprocessing(
            {name: array[frame] for name, array in outputs.items()}, manifest.groups
        )
        found.append((boxes.boxes, boxes.scores, boxes.labels))
    return found


def _write_sample(
    module: PillarDeployable, manifest: PillarManifest, folder: Path, cloud: Points
) -> None:
    feeds = network_feeds([cloud] * manifest.batch, manifest.voxelization)
    with backend_from_module(module, manifest) as backend:
        boxes, scores, labels = _detect(manifest, backend.infer(feeds))[0]
    np.savez_compressed(
        folder / SAMPLE_FILE, points=cloud, boxes=boxes, scores=scores, labels=labels
    )


def _manifest(
    module: PillarDeployable,
    cfg: Config,
    folder: Path,
    cloud: Points,
    given: Mapping[str, Any],  # Any: the fields of a manifest
) -> PillarManifest:
    pillars = len(network_feeds([cloud], module.voxelization)["num_points"])
    most = module.voxelization.max_pillars
    return PillarManifest(
        batch=module.batch,
        point_features=int(module.example(1)[0].shape[2]),
        pillar_profile={
            "min": 1,
            "opt": module.batch * pillars,
            "max": module.batch * most,
        },
        output_names=module.output_names,
        groups=module.groups,
        voxelization=module.voxelization,
        preprocessing=_preprocessing(cfg),
        postprocessing=post_processing3d(module.head),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        model_hash=sha256_of(folder / MODEL_FILE),
        versions={**library_versions(), "mmdet3d": version("mmdet3d")},
        **given,
    )


def _preprocessing(cfg: Config) -> dict[str, Any]:
    known = cfg.get("test_dataloader") or cfg.get("test_pipeline")
    steps: Any = [jsonable(step) for step in pipeline_steps(cfg)] if known else []
    labels = ("Pack3DDetInputs", "LoadAnnotations3D", "ObjectRangeFilter", "ObjectNameFilter")
    kept = [step for step in steps if step["type"] not in labels]
    return {"pipeline": kept, "steps": _PREPROCESSING}
