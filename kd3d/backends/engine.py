"""A TensorRT engine from an ONNX file, built on the machine that will run it.

An engine runs only on the TensorRT version and GPU that it was built with, and its kernels were
chosen for the SMs that the power mode left on line (every Orin calls itself "Orin"). Beside each
lies a JSON file that names them and the ONNX file's hash (and those of files with its weights); a
call with another combination builds it again.
Precision is what the file says (typed FP16, Q/DQ for INT8): the network is strongly typed where
TensorRT can (10 and newer), and held to the file's types in TensorRT 8 (see weak_typing.py).
Python 3.8, NumPy and tensorrt only.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence  # noqa: UP035  (Python 3.8)

from kd3d.backends.cuda_runtime import open_cuda_runtime
from kd3d.backends.external_data import external_files
from kd3d.backends.onnx_parsing import parse_onnx
from kd3d.backends.tensorrt_module import Messages, logger_of, register_plugins, tensorrt_module
from kd3d.backends.weak_typing import HELD, keep_types, weak_network_flags
from kd3d.errors import UserError
from kd3d.files import sha256_of, writable_path, write_bytes, write_json

if TYPE_CHECKING:
    import tensorrt as trt

Profiles = Mapping[str, Mapping[str, Sequence[int]]]
"""By input: "min", "opt" and "max", a shape each."""

RULES = 1  # raise it when what is told to the builder changes: engines of before are built anew
_HASH_DIGITS = 64
_HINT = "mend the folder, or move the cache by XDG_CACHE_HOME"
_BOUNDS = ("min", "opt", "max")


def engine_from_onnx(
    onnx_path: str | Path,
    out_dir: str | Path,
    *,
    profiles: Profiles,
    workspace_mb: int = 1024,
    timing_dir: str | Path | None = None,
) -> Path:
    """Builds an engine, or finds the one that was built from the same file on the same machine.

    Args:
        onnx_path: the file; its weights may lie beside it.
        out_dir: gets ``<name>.engine`` and ``<name>.engine.json``, each whole or not at all.
        profiles: shapes of each input with a free size; the engine takes any from "min" to "max"
            and is fastest at "opt".
        workspace_mb: most scratch memory that a layer may use, in MiB.
        timing_dir: keeps measured kernels, a file for each machine as ``_timing_cache`` tells
            them apart, used by and added to by every build there; None is ``out_dir``. Of builds
            at one time the last to end keeps its measurements; that costs time and nothing else.

    Returns:
        The path of the engine.

    Raises:
        UserError: if there is no TensorRT or GPU, or TensorRT cannot parse or build the file; the
            message has TensorRT's own.
    """
    onnx_path, out_dir = Path(onnx_path), Path(out_dir)
    if not onnx_path.is_file():
        raise UserError(f"no ONNX file at {onnx_path}")
    trt = tensorrt_module()
    cuda = open_cuda_runtime()
    gpu, capability = cuda.gpu()
    machine = {
        "tensorrt": trt.__version__,
        "gpu": gpu,
        "compute_capability": capability,
        "sms": cuda.sms(),
    }
    key = {
        **machine,
        "onnx_sha256": sha256_of(onnx_path, _HASH_DIGITS),
        **_external_hashes(onnx_path),
        "profiles": {
            name: {bound: list(profile[bound]) for bound in _BOUNDS}
            for name, profile in sorted(profiles.items())
        },
        "workspace_mb": workspace_mb,
        "rules": RULES,
    }
    path = out_dir / f"{onnx_path.stem}.engine"
    if key_of(path) == key:
        return path
    cache = _timing_cache(out_dir if timing_dir is None else Path(timing_dir), machine)
    for result in (path, cache):
        writable_path(result, _HINT)  # building takes minutes
    messages = Messages()
    engine, typing = _build(trt, messages, onnx_path, profiles, workspace_mb, cache)
    write_bytes(path, engine)
    notes = {"typing": typing, "warnings": messages.warnings}
    write_json(
        _record_of(path),
        {"key": key, "engine_sha256": sha256_of(path, _HASH_DIGITS), **notes},
    )
    return path


def key_of(engine_path: Path) -> dict[str, Any] | None:
    """What an engine was built from and on; None if that is unknown, or was of another file."""
    record = _record_of(engine_path)
    if not engine_path.is_file() or not record.is_file():
        return None
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        whole = found["engine_sha256"] == sha256_of(engine_path, _HASH_DIGITS)
        key: dict[str, Any] = found["key"]
    except (ValueError, KeyError, TypeError):
        return None
    return key if whole else None


def _timing_cache(folder: Path, machine: Mapping[str, Any]) -> Path:
    """A file for each TensorRT, GPU and number of SMs: no other's measurements are worth a thing.

    So machines that share a folder, and power modes of one, do not replace each other's.
    """
    digest = hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()
    return folder / f"timing-{digest[:12]}.cache"


def _external_hashes(onnx_path: Path) -> dict[str, dict[str, str]]:
    """Of the files that hold weights; no entry where there are none."""
    names = external_files(onnx_path)
    hashes = {name: sha256_of(onnx_path.parent / name, _HASH_DIGITS) for name in names}
    return {"external_sha256": hashes} if hashes else {}


def _record_of(engine_path: Path) -> Path:
    return engine_path.with_name(f"{engine_path.name}.json")


def _build(
    trt: Any,
    messages: Messages,
    onnx_path: Path,
    profiles: Profiles,
    workspace_mb: int,
    cache_path: Path,
) -> tuple[bytes, str]:
    """The engine, and how its network was typed."""
    logger = logger_of(trt)
    register_plugins(trt)
    builder = _make_builder(trt, logger, messages)
    strong = hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    if strong:
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    else:
        flags = weak_network_flags(trt)
    network = builder.create_network(flags)
    parse_onnx(trt, network, logger, onnx_path)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # names layers; costs no time
    _set_profile(builder, network, config, profiles, str(onnx_path))
    _set_timing_cache(config, cache_path)
    typing, hint = "strongly typed", ""
    if not strong:
        types = keep_types(trt, network, config)
        typing = f"weakly typed, {' and '.join(types) or 'FP32'}, held to the file's types"
        hint = HELD if "FP16" in types else ""
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise UserError(
            f"{onnx_path}: TensorRT {trt.__version__} cannot build an engine:\n"
            f"{messages.text()}{hint}"
        )
    write_bytes(cache_path, bytes(memoryview(config.get_timing_cache().serialize())))
    return bytes(memoryview(engine)), typing


def _make_builder(trt: Any, logger: trt.ILogger, messages: Messages) -> trt.Builder:
    try:
        return trt.Builder(logger)
    except TypeError:  # pybind11's word for a factory that returned nothing
        raise UserError(
            f"TensorRT {trt.__version__} does not start on this machine:\n{messages.text()}"
        ) from None


def _set_profile(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    profiles: Profiles,
    where: str,
) -> None:
    """Adds one optimisation profile if an input has a free size."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    shapes = {tensor.name: tuple(tensor.shape) for tensor in inputs}
    free = {name: shape for name, shape in shapes.items() if -1 in shape}
    unknown = sorted(set(profiles) - set(shapes))
    missing = sorted(set(free) - set(profiles))
    if unknown or missing:
        raise UserError(
            f"{where}: its inputs with a free size are {sorted(free)}, but the profiles are of "
            f"{sorted(profiles)}; export the folder again so that both fit"
        )
    if not free:
        return
    profile = builder.create_optimization_profile()
    for name, shape in free.items():
        bounds = [tuple(int(size) for size in profiles[name][bound]) for bound in _BOUNDS]
        if not _ordered(shape, bounds):
            raise UserError(
                f"{where}: input '{name}' is {shape} with -1 for any size, but its profile is "
                f"{dict(profiles[name])}; expected such shapes with min <= opt <= max"
            )
        profile.set_shape(name, bounds[0], bounds[1], bounds[2])
    config.add_optimization_profile(profile)


def _ordered(shape: Sequence[int], bounds: Sequence[Sequence[int]]) -> bool:
    """Whether min <= opt <= max in each dimension, and equal to the shape where it is fixed."""
    if any(len(bound) != len(shape) for bound in bounds):
        return False
    return all(
        low <= best <= high and (size == -1 or low == high == size)
        for size, low, best, high in zip(shape, *bounds)  # noqa: B905  (Python 3.8)
    )


def _set_timing_cache(config: trt.IBuilderConfig, path: Path) -> None:
    """Lets the build use the file's measurements; starts anew where TensorRT refuses them.

    It writes its version and the GPU into the cache and refuses any other, and what is damaged:
    such a file costs building time and nothing else.
    """
    content = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(content)
    if cache is not None and config.set_timing_cache(cache, False):
        return
    empty = config.create_timing_cache(b"")
    config.set_timing_cache(empty, False)
