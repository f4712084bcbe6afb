"""An exported file in the place of a detector, so that MMEngine's test loop evaluates it."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor, nn

from kd3d.backends.bundle import Bundle
from kd3d.backends.ssh import Host
from kd3d.errors import UserError
from kd3d.export.detections.backend_pillar_detector import BackendPillarDetector
from kd3d.export.detections.final_boxes import Detections, final_boxes
from kd3d.export.manifest import Manifest
from kd3d.export.open_backend import LateBackend, host_as_config
from kd3d.export.pillar_manifest import PillarManifest, read_manifest
from kd3d.export.preprocessing import pad_to_size
from kd3d.registry import MODELS


@MODELS.register_module()
class BackendDetector(BaseModel):
    """Predicts like the detector that was exported; cannot be trained.

    Images smaller than the exported size are padded right and below, as MMDetection pads the
    smaller images of a batch. Larger ones are refused: resizing here would change the result.
    Where the test pipeline makes images of exactly the exported size, results equal PyTorch's. A
    two-stage detector or DETR is exported for one size of image before padding: other images are
    detected too, but clipped or masked as if they had that size, and a warning says so.

    Args:
        export_dir: written by tools/export.py. Opened by the first batch, released by ``close``.
        backend: "onnxruntime", "tensorrt" or "pytorch".
        precision: "fp32", "fp16" or "int8", if the folder has it.
        data_preprocessor: the original detector's, built or as a config.
        host: a vehicle that runs the backend, by the arguments of ``Host``; None: this machine.
    """

    def __init__(
        self,
        export_dir: str | Path,
        backend: str,
        *,
        precision: str = "fp32",
        data_preprocessor: nn.Module | dict[str, Any],
        host: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        manifest = read_manifest(export_dir)
        if not isinstance(manifest, Manifest):
            raise UserError(f"{export_dir} holds a detector of points, the config reads images")
        self._manifest = manifest
        self._backend = LateBackend(export_dir, backend, precision=precision, host=host)
        self._warned = False

    def close(self) -> None:
        """Releases what the backend holds."""
        self._backend.close()

    def forward(
        self, inputs: Tensor, data_samples: list[Any] | None = None, mode: str = "predict"
    ) -> list[Any]:
        """Detections of a preprocessed batch, in MMDetection's data samples.

        Args:
            inputs: (B, C, H, W) from the data preprocessor.
            data_samples: B samples, which receive ``pred_instances`` in original pixels.
            mode: "predict" only.
        """
        if mode != "predict" or data_samples is None:
            raise NotImplementedError(f"an exported detector only predicts, got mode '{mode}'")
        padding = float(self._manifest.preprocessing["pad_value"])
        images = pad_to_size(inputs.float(), self._manifest.input_size, padding)
        outputs = self._infer(images)
        self._compare_sizes([sample.metainfo["img_shape"][:2] for sample in data_samples])
        for index, sample in enumerate(data_samples):
            found = self._detections({k: v[index] for k, v in outputs.items()}, sample.metainfo)
            sample.pred_instances = InstanceData(
                bboxes=found.boxes, scores=found.scores, labels=found.labels
            )
        return data_samples

    def _infer(self, images: Tensor) -> dict[str, Tensor]:
        """Runs in batches of the exported size; the last one is filled up with its last image."""
        step = self._manifest.batch or len(images)
        parts: list[dict[str, np.ndarray[Any, Any]]] = []
        for batch in torch.split(images, step):
            missing = step - len(batch)
            full = torch.cat([batch, *[batch[-1:]] * missing]) if missing else batch
            parts.append(self._backend.infer({self._manifest.input_name: full.cpu().numpy()}))
        return {
            name: torch.from_numpy(np.concatenate([part[name] for part in parts]))
            for name in self._manifest.output_names
        }

    def _compare_sizes(self, sizes: list[Sequence[int]]) -> None:
        expected = self._manifest.image_size
        others = {tuple(size) for size in sizes} - {expected}
        if expected is None or not others or self._warned:
            return
        self._warned = True
        height, width = min(others)
        print_log(
            f"the export is made for images of {expected[0]}x{expected[1]} (H x W) before padding "
            f"and receives {height}x{width}: detections may differ a little from PyTorch's; for "
            f"images of one size export with --image-size {height} {width}",
            "current",
            logging.WARNING,
        )

    def _detections(self, outputs: dict[str, Tensor], meta: dict[str, Any]) -> Detections:
        return final_boxes(
            outputs["boxes"],
            outputs["scores"],
            self._manifest.postprocessing,
            factors=outputs.get("factors"),
            level_sizes=self._manifest.level_sizes,
            image_shape=meta["img_shape"][:2],
            scale_factor=meta.get("scale_factor", (1.0, 1.0)),
        )


def backend_detector(
    export_dir: str | Path,
    backend_name: str,
    cfg: Config,
    *,
    precision: str = "fp32",
    host: Host | None = None,
) -> dict[str, Any]:
    """Config of a model that runs an export: put it in the place of ``cfg.model``.

    A config rather than a model, because a Runner copies and prints its config.

    Args:
        export_dir: written by tools/export.py.
        backend_name: "onnxruntime", "tensorrt" or "pytorch".
        cfg: whose test pipeline will be run and whose data preprocessor is used.
        precision: "fp32", "fp16" or "int8".
        host: a vehicle that runs the backend.

    Raises:
        UserError: for a folder that is no export, or lacks the precision.
    """
    pillars = isinstance(read_manifest(export_dir), PillarManifest)
    Bundle.read(export_dir).model_path(precision)
    processor = dict(cfg.model.get("data_preprocessor") or {"type": "DetDataPreprocessor"})
    processor.pop("batch_augments", None)  # training only
    processor.setdefault("_scope_", cfg.get("default_scope", "mmdet"))
    if pillars:
        processor["voxel"] = False  # the detector voxelises as a vehicle does
    return {
        "type": f"kd3d.{BackendPillarDetector.__name__ if pillars else BackendDetector.__name__}",
        "export_dir": str(export_dir),
        "backend": backend_name,
        "precision": precision,
        "data_preprocessor": processor,
        "host": host_as_config(host),
    }
