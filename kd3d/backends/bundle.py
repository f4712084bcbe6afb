"""The device bundle: an export folder as a vehicle reads it, with NumPy and nothing of kd3d's rest.

The folder is written by tools/export.py. ``export.json`` names its files and says what goes into
the network and comes out of it; ``sample.npz`` holds one set of inputs and what PyTorch answered.
Runs on Python 3.8.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kd3d.backends.base import Array, TensorSpec
from kd3d.errors import UserError
from kd3d.files import sha256_of

FILE_NAME = "export.json"
SAMPLE_FILE = "sample.npz"
SAMPLE_HASH = "sample_sha256"  # in export.json
PRECISIONS = ("fp32", "fp16", "int8")
MODEL_FILES = {"fp32": "model.onnx", "fp16": "model-fp16.onnx", "int8": "model-int8.onnx"}
HASH_DIGITS = 64


@dataclass(frozen=True)
class ModelFile:
    """One precision of a bundle: the entry of "models" in export.json.

    Attributes:
        file: name in the folder.
        sha256: of that file, 64 hexadecimal digits.
        kept_fp32: names of the graph's nodes that were left in single precision.
        details: what else its maker says, such as the "calibration" of int8.
    """

    file: str
    sha256: str
    kept_fp32: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON

    def as_json(self) -> dict[str, Any]:
        """The entry of export.json."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "kept_fp32": list(self.kept_fp32),
            **self.details,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> ModelFile:
        """The reverse of ``as_json``; KeyError or TypeError if the entry is none."""
        own = ("file", "sha256", "kept_fp32")
        details = {name: value for name, value in entry.items() if name not in own}
        kept = tuple(str(name) for name in entry["kept_fp32"])
        return cls(str(entry["file"]), str(entry["sha256"]), kept, details)

    @classmethod
    def of(cls, path: Path, report: Mapping[str, Any] | None = None) -> ModelFile:
        """Of a file that has been written, with what its maker reports."""
        kept = {"kept_fp32": [], **(report or {})}
        return cls.from_json({"file": path.name, "sha256": sha256_of(path, HASH_DIGITS), **kept})


def models_from_json(content: Mapping[str, Any], where: str) -> dict[str, ModelFile]:
    """The entry "models" of an export.json, by precision.

    Raises:
        UserError: if there is none: the folder was written before it held several precisions, or
            nothing is left in it that could be run and compared.
    """
    if "models" not in content or not content["models"]:
        raise UserError(
            f"{where}: has no entry 'models' with a file in it, so an older version wrote it; "
            "export again with tools/export.py CONFIG CHECKPOINT --out DIR"
        )
    return {name: ModelFile.from_json(entry) for name, entry in content["models"].items()}


class Bundle:
    """An export folder: models, inputs, outputs, a sample, and all of export.json.

    Attributes:
        folder: where it lies.
        manifest: content of export.json.
        models: by precision: "fp32", perhaps "fp16" and "int8".
        inputs: what the network takes, whatever the precision; None is a free size.
        output_names: what it answers, in the file's order.
        profiles: of each input with a free size: "min", "opt" and "max", its shapes for an engine.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.models = models_from_json(manifest, str(folder / FILE_NAME))
        self.inputs = tuple(
            TensorSpec(str(entry["name"]), tuple(entry["shape"]), str(entry["dtype"]))
            for entry in manifest["inputs"]
        )
        self.output_names = tuple(str(name) for name in manifest["outputs"])
        self.profiles: dict[str, dict[str, tuple[int, ...]]] = {
            name: {bound: tuple(shape) for bound, shape in profile.items()}
            for name, profile in manifest["profiles"].items()
        }

    @classmethod
    def read(cls, folder: str | Path) -> Bundle:
        """Reads export.json; the models and the sample are read when they are asked for.

        Raises:
            UserError: if the folder is none, or its export.json is damaged or older.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise UserError(
                f"{folder} is no export folder: it has no {FILE_NAME}; "
                "make one with tools/export.py CONFIG CHECKPOINT --out DIR"
            )
        try:
            return cls(Path(folder), json.loads(path.read_text(encoding="utf-8")))
        except UserError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: damaged or from another version: {error!r}") from None

    def model_path(self, precision: str) -> Path:
        """The ONNX file of a precision.

        Raises:
            UserError: if the bundle does not have it.
        """
        if precision not in self.models:
            raise UserError(
                f"{self.folder} holds {', '.join(self.models)}, not '{precision}'; export again "
                f"with --precision {' '.join([*self.models, precision])}"
            )
        path = self.folder / self.models[precision].file
        if not path.is_file():
            raise UserError(f"{self.folder}: {path.name} is gone; export again")
        return path

    def verify(self, precision: str) -> Path:
        """The ONNX file of a precision, after comparing its hash with export.json.

        Raises:
            UserError: if it is another file than the one that was exported and proved.
        """
        path = self.model_path(precision)
        _check_hash(path, self.models[precision].sha256)
        return path

    def sample_feeds(self) -> dict[str, Array]:
        """Inputs of the sample by name."""
        return self._sample("input/")

    def expected_outputs(self) -> dict[str, Array]:
        """What PyTorch answered in single precision to ``sample_feeds``, by name."""
        return self._sample("output/")

    def sample_points(self) -> Array | None:
        """(N, C) points of the sample's frame; None for images."""
        return self._sample("points").get("")

    def _sample(self, prefix: str) -> dict[str, Array]:
        """Arrays whose names start so, without the prefix.

        Raises:
            UserError: if the file is gone, or another than the one that was exported.
        """
        path = self.folder / SAMPLE_FILE
        if not path.is_file():
            raise UserError(f"{self.folder}: {SAMPLE_FILE} is gone; export again")
        if self.manifest.get(SAMPLE_HASH):  # a part of a graph has none
            _check_hash(path, str(self.manifest[SAMPLE_HASH]))
        with np.load(path) as arrays:
            names = [name for name in arrays.files if name.startswith(prefix)]
            return {name[len(prefix) :]: arrays[name] for name in names}


def _check_hash(path: Path, expected: str) -> None:
    found = sha256_of(path, HASH_DIGITS)
    if found != expected:
        raise UserError(
            f"{path}: its SHA-256 is {found[:12]}..., {FILE_NAME} says {expected[:12]}...; it "
            "was changed or not copied whole: copy or export it again"
        )
