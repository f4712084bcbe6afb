"""Makes an export folder: the ONNX file and what is needed to run it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config

from kd3d.backends.bundle import FILE_NAME, MODEL_FILES, ModelFile
from kd3d.errors import UserError
from kd3d.export.graphs.onnx_model import onnx_from_model
from kd3d.export.manifest import CONFIG_FILE, WEIGHTS_FILE, Manifest
from kd3d.export.networks.deployable import INPUT_NAME, Deployable
from kd3d.export.preprocessing import describe_preprocessing, input_channels, pad_divisor
from kd3d.files import write_text
from kd3d.profiling.environment import environment


def write_export(
    module: Deployable,
    cfg: Config,
    folder: Path,
    *,
    size: tuple[int, int],
    batch: int | None,
    opset: int,
    classes: Sequence[str],
    source: Mapping[str, str],
) -> Manifest:
    """Writes model.onnx, config.py, weights.pth and export.json into ``folder``.

    Args:
        module: the detector with its trained weights.
        cfg: its config.
        folder: to write into.
        size: (H, W) px of the network's input.
        batch: images a run, None for any number, or 1 where the detector needs a fixed one.
        opset: of the ONNX file.
        classes: names in the order of the outputs.
        source: config, config_hash, checkpoint, checkpoint_hash.

    Raises:
        UserError: if the detector or the size cannot be exported.
    """
    divisor = pad_divisor(cfg)
    if size[0] % divisor or size[1] % divisor:
        raise UserError(f"input size {size[0]}x{size[1]}: expected multiples of {divisor}")
    batch = 1 if batch is None and module.fixed_batch else batch
    channels = input_channels(cfg)
    try:
        level_sizes = module.level_sizes(torch.zeros(1, channels, *size))
    except RuntimeError as error:  # feature maps that do not join
        raise UserError(
            f"the detector does not take inputs of {size[0]}x{size[1]} (H x W): {error}; "
            "try multiples of 32"
        ) from error
    shape = (channels, *size)
    path = folder / MODEL_FILES["fp32"]
    model = trace_images(module, path, shape=shape, batch=batch, opset=opset)
    write_text(folder / CONFIG_FILE, cfg.pretty_text)
    torch.save(module.detector.state_dict(), folder / WEIGHTS_FILE)
    manifest = Manifest(
        input_name=INPUT_NAME,
        channels=channels,
        input_size=size,
        image_size=(module.image_size or size) if module.fixed_batch else None,
        batch=batch,
        output_names=module.output_names,
        rows_free=module.rows_free,
        level_sizes=level_sizes,
        preprocessing=describe_preprocessing(cfg),
        postprocessing=module.postprocessing,
        classes=list(classes),
        opset=opset,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        versions=library_versions(),
        models={"fp32": ModelFile.of(model)},
        **source,
    )
    manifest.write(folder)
    return manifest


def trace_images(
    module: Deployable, path: Path, *, shape: tuple[int, int, int], batch: int | None, opset: int
) -> Path:
    """The ONNX file of a detector of images (C, H, W), whole or absent; the rest as above."""
    free = () if batch is not None else (INPUT_NAME, *module.output_names)
    return onnx_from_model(
        module,
        {INPUT_NAME: torch.zeros(batch or 2, *shape)},  # 2: a batch of 1 may become a constant
        path,
        output_names=module.output_names,
        opset=opset,
        dynamic_axes={name: {0: "batch"} for name in free},
    )


def check_target(target: Path, *, force: bool) -> None:
    """Raises UserError unless ``target`` is free, empty, or (with ``force``) an export folder."""
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        if not force:
            raise UserError(f"{target} exists; replace it with --force or choose another --out")
        if not (target / FILE_NAME).is_file():
            raise UserError(f"{target} is no export folder, so --force does not replace it")


def library_versions() -> dict[str, str]:
    """Of what makes an export, for export.json."""
    names = ("torch", "mmengine", "mmcv", "mmdet", "onnx", "onnxruntime", "kd3d", "commit")
    found = environment()
    return {name: found[name] for name in names}
