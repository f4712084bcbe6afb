"""What the parity gate asks and what it takes as right."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from kd3d.backends.base import Feeds
from kd3d.backends.bundle import Bundle
from kd3d.backends.recorded import RecordedBackend, recorded
from kd3d.configs import load_config
from kd3d.export.description import faults_of_description
from kd3d.export.manifest import CONFIG_FILE, WEIGHTS_FILE, Manifest
from kd3d.export.networks.deployable import Deployable
from kd3d.export.networks.pillar_deployable import PillarDeployable
from kd3d.export.open_backend import backend_from_module, load_module
from kd3d.export.pillar_export import cloud_feeds
from kd3d.export.pillar_manifest import PillarManifest, read_manifest
from kd3d.export.preprocessing import image_input
from kd3d.export.splits import split_clouds, split_images


@dataclass(frozen=True)
class GateInputs:
    """The reference of an export folder.

    Attributes:
        manifest: of the folder.
        module: the PyTorch module; None where config.py or weights.pth are not in the folder.
        reference: answers ``feeds``.
        feeds: sets of inputs.
        real: which of them are of real images or frames.
        faults: what in export.json or sample.npz is not as PyTorch says; empty without it.
    """

    manifest: Manifest | PillarManifest
    module: Deployable | PillarDeployable | None
    reference: RecordedBackend
    feeds: Sequence[Feeds]
    real: Sequence[bool]
    faults: Sequence[str]

    def feeds_of(self, precision: str) -> Sequence[Feeds]:
        """All inputs for fp32. Others are made for what a camera or LiDAR sees: the real ones."""
        real = [feeds for feeds, is_real in zip(self.feeds, self.real, strict=True) if is_real]
        return self.feeds if precision == "fp32" or not real else real


def gate_inputs(folder: Path, *, frames: int) -> GateInputs:
    """Sample and frames of the test split with PyTorch's answers; else the recorded sample alone.

    Args:
        folder: the export.
        frames: of the config's test split, where that is on this machine.

    Raises:
        UserError: if the folder is no export.
    """
    bundle, manifest = Bundle.read(folder), read_manifest(folder)
    sample = bundle.sample_feeds()
    real = [manifest.sample in ("real", "test set")]
    if not all((folder / name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE)):
        answers = RecordedBackend(manifest.inputs(), [(sample, bundle.expected_outputs())])
        return GateInputs(manifest, None, answers, [sample], real, [])
    cfg = load_config(str(folder / CONFIG_FILE))
    module = load_module(folder, manifest)
    feeds: list[Feeds] = [sample]
    if isinstance(manifest, PillarManifest):
        clouds = split_clouds(cfg, "test", frames) if frames else []
        feeds += cloud_feeds(clouds, manifest)
    else:
        for path in split_images(cfg, "test", frames) if frames else []:
            image = image_input(cfg, module.detector, path, manifest.input_size)
            feeds.append({manifest.input_name: image.repeat(manifest.batch or 1, axis=0)})
    real += [True] * (len(feeds) - 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    reference = recorded(backend_from_module(module, manifest, device=device), feeds)
    faults = faults_of_description(bundle, manifest, module, cfg, reference.infer(sample))
    return GateInputs(manifest, module, reference, feeds, real, faults)
