"""An exported file in the place of a detector, so that MMEngine's test loop evaluates it."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor, nn

from kd3d.backends.base import Backend
from kd3d.errors import UserError
from kd3d.export.backend_pillar_detector import BackendPillarDetector
from kd3d.export.final_boxes import Detections, final_boxes
from kd3d.export.manifest import Manifest
from kd3d.export.open_backend import BACKENDS, open_backend
from kd3d.export.pillar_manifest import PillarManifest, read_manifest
from kd3d.export.preprocessing import pad_to_size
from kd3d.registry import MODELS


@MODELS.register_module()
class BackendDetector(BaseModel):
    """Predicts like the detector that was exported; cannot be trained.

    Images smaller than the exported size are padded right and below, as MMDetection pads the
    smaller images of a batch. Larger ones are refused: resizing here would change the result.
    Where the test pipeline makes images of exactly the exported size, results equal PyTorch's.

    Args:
        export_dir: written by tools/export.py. Opened by the first batch, released by ``close``:
            EMAHook copies the model before that, and a session cannot be copied.
        backend: "onnxruntime" or "pytorch".
        data_preprocessor: the original detector's, built or as a config.
    """

    def __init__(
        self,
        export_dir: str | Path,
        backend: str,
        *,
        data_preprocessor: nn.Module | dict[str, Any],
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self._manifest = Manifest.read(export_dir)
        self._open = partial(open_backend, export_dir, backend)
        self._backend: Backend | None = None

    def close(self) -> None:
        """Releases what the backend holds."""
        if self._backend is not None:
            self._backend.__exit__(None, None, None)
            self._backend = None

    def forward(
        self, inputs: Tensor, data_samples: list[Any] | None = None, mode: str = "predict"
    ) -> list[Any]:
        """Detections of a preprocessed batch, in MMDetection's data samples.

        Args:
            inputs: (B, 3, H, W) from the data preprocessor.
            data_samples: B samples, which receive ``pred_instances`` in original pixels.
            mode: "predict" only.
        """
        if mode != "predict" or data_samples is None:
            raise NotImplementedError(f"an exported detector only predicts, got mode '{mode}'")
        padding = float(self._manifest.preprocessing["pad_value"])
        images = pad_to_size(inputs.float(), self._manifest.input_size, padding)
        outputs = self._infer(images)
        for index, sample in enumerate(data_samples):
            found = self._detections({k: v[index] for k, v in outputs.items()}, sample.metainfo)
            sample.pred_instances = InstanceData(
                bboxes=found.boxes, scores=found.scores, labels=found.labels
            )
        return data_samples

    def _infer(self, images: Tensor) -> dict[str, Tensor]:
        """Runs in batches of the exported size; the last one is filled up with its last image."""
        if self._backend is None:
            self._backend = self._open().__enter__()
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


def backend_detector(export_dir: str | Path, backend_name: str, cfg: Config) -> dict[str, Any]:
    """Config of a model that runs an export: put it in the place of ``cfg.model``.

    A config rather than a model, because a Runner copies and prints its config.

    Args:
        export_dir: written by tools/export.py.
        backend_name: "onnxruntime" or "pytorch".
        cfg: whose test pipeline will be run and whose data preprocessor is used.

    Raises:
        UserError: for an unknown backend or a folder that is no export.
    """
    if backend_name not in BACKENDS:
        raise UserError(f"unknown backend '{backend_name}'; expected one of {', '.join(BACKENDS)}")
    pillars = isinstance(read_manifest(export_dir), PillarManifest)
    processor = dict(cfg.model.get("data_preprocessor") or {"type": "DetDataPreprocessor"})
    processor.pop("batch_augments", None)  # training only
    processor.setdefault("_scope_", cfg.get("default_scope", "mmdet"))
    if pillars:
        processor["voxel"] = False  # the detector voxelises as a vehicle does
    return {
        "type": f"kd3d.{BackendPillarDetector.__name__ if pillars else BackendDetector.__name__}",
        "export_dir": str(export_dir),
        "backend": backend_name,
        "data_preprocessor": processor,
    }
