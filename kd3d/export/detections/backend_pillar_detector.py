"""An exported pillar detector in the place of the original, for MMEngine's test loop."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor, nn

from kd3d.errors import UserError
from kd3d.export.detections.final_boxes3d import Boxes3D
from kd3d.export.open_backend import LateBackend
from kd3d.export.pillar_manifest import PillarManifest, read_manifest
from kd3d.export.voxelization import network_feeds
from kd3d.registry import MODELS


@MODELS.register_module()
class BackendPillarDetector(BaseModel):
    """Predicts like the pillar detector that was exported; cannot be trained.

    Voxelisation, network and NMS are those of a vehicle: ``voxelization.py``, the backend, and
    ``final_boxes3d.py``.

    Args:
        export_dir: written by tools/export.py. Opened by the first batch, released by ``close``.
        backend: "onnxruntime", "tensorrt" or "pytorch".
        precision: "fp32", "fp16" or "int8", if the folder has it.
        data_preprocessor: collates the points, without voxelisation; built or as a config.
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
        if not isinstance(manifest, PillarManifest):
            raise UserError(f"{export_dir} holds a detector of images, the config reads points")
        self._manifest = manifest
        self._backend = LateBackend(export_dir, backend, precision=precision, host=host)

    def close(self) -> None:
        """Releases what the backend holds."""
        self._backend.close()

    def forward(
        self,
        inputs: dict[str, list[Tensor]],
        data_samples: list[Any] | None = None,
        mode: str = "predict",
    ) -> list[Any]:
        """Detections of a collated batch, in mmdet3d's data samples.

        Args:
            inputs: "points", B clouds (N, C).
            data_samples: B samples, which receive ``pred_instances_3d``.
            mode: "predict" only.
        """
        if mode != "predict" or data_samples is None:
            raise NotImplementedError(f"an exported detector only predicts, got mode '{mode}'")
        clouds = [cloud.cpu().numpy() for cloud in inputs["points"]]
        step = self._manifest.batch
        for start in range(0, len(clouds), step):
            samples = data_samples[start : start + step]
            feeds = network_feeds(clouds[start : start + step], self._manifest.voxelization)
            outputs = self._backend.infer(feeds)  # a last, smaller batch has its first frames
            for index, sample in enumerate(samples):
                found = {name: array[index] for name, array in outputs.items()}
                boxes = self._manifest.postprocessing(found, self._manifest.groups)
                sample.pred_instances_3d = _instances(boxes, sample.metainfo)
                sample.pred_instances = InstanceData()
        return data_samples


def _instances(found: Boxes3D, meta: dict[str, Any]) -> InstanceData:
    boxes = torch.from_numpy(np.ascontiguousarray(found.boxes))
    return InstanceData(
        bboxes_3d=meta["box_type_3d"](boxes, box_dim=boxes.shape[1]),
        scores_3d=torch.from_numpy(found.scores),
        labels_3d=torch.from_numpy(found.labels).long(),
    )
