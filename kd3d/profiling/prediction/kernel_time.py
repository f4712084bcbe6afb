"""How long each kernel takes on a device: a roofline with tiles, waves, caches and launches.

A product is cut into tiles; TensorRT times several tile shapes and keeps the fastest, so the
fastest is taken here too; groups of one channel run in the CUDA cores where that is faster. A tile
needs time in the tensor cores and time to be fed from the level-2 cache; SMs work through the tiles
in waves. Data that the cache does not hold comes from memory.
Every number that is not hardware is a :class:`Parameters`, fitted with priors (latency_fit.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kd3d.profiling.devices import Device
from kd3d.profiling.prediction.kernel_work import LayerWork

Array = NDArray[Any]

_MATHS = ("int8", "fp16", "fp32")
_BYTES = np.array([1.0, 2.0, 4.0])
_RATES = ("int8", "fp16", "tf32")
_ALIGN = np.array([16.0, 8.0, 4.0])  # elements of 128 bits: what a tensor core loads at once
_STEP_K = np.array([64.0, 32.0, 16.0])  # depth of one step through a tile
# (rows, columns) of the tiles that CUTLASS-like kernels come in, and splits of the depth.
_TILES = np.array(
    [
        *[(256, 128), (128, 256), (128, 128), (256, 64), (128, 64), (64, 128), (64, 64)],
        *[(128, 32), (64, 32), (32, 32), (256, 32), (32, 64), (32, 128)],
    ],
    dtype=float,
)
# Power mean of times that overlap (arithmetic and data, GPU and CPU): the larger counts, and near
# equality both do. Cross-validated errors hardly depend on it (1.5 to 6 tried).
_OVERLAP = 3.0
_SPLITS = np.array([1.0, 2.0, 4.0, 8.0])


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What hardware tables do not say; values are fitted, see ``roofline_parameters.yaml``.

    Attributes:
        tensor_int8, tensor_fp16, tensor_fp32: share of the tensor cores' peak that a full tile
            reaches, by type of the data.
        blackwell: time of a kernel on Blackwell relative to what its hardware would take with
            Orin's shares: its kernels and TensorRT are others.
        l2_bytes_clock: bytes that level 2 feeds one SM in one clock.
        memory: share of the memory bus's peak that streaming kernels reach.
        cache: share of level 2 that still holds what the kernel before wrote.
        strided: how often a softmax over an axis that is not the last moves its data: it reads one
            element of each row at a time, and several times over.
        thin_bytes: what each pixel costs more to move than its channels hold.
        tile_clocks: of starting and storing a tile.
        kernel_clocks: of filling and draining the GPU, each kernel.
        gap_us: between two kernels on the GPU, whatever its clock.
        graph_start: share of both that is left in a CUDA graph.
        enqueue_us: of the CPU for each kernel, without a CUDA graph; it runs ahead of the GPU and
            counts where kernels are shorter than that. On a Cortex-A78AE of 2 GHz.
        apart: share of the activations that a convolution's kernel may end with and that stay
            kernels of their own all the same.
        view: the same for Slice, Split, and Transpose beside a matrix product: the others are read
            in place.
        depthwise: share of the CUDA cores' peak in depthwise convolutions.
        pointwise: clocks-per-element factor of pointwise kernels.
        python_ms: of the Python runtime around a run, on a Cortex-A78AE of 2 GHz.
        mlperf_ms: of MLPerf's harness around a run, on a Cortex-A78AE of 2 GHz.
    """

    tensor_int8: float
    tensor_fp16: float
    tensor_fp32: float
    blackwell: float
    l2_bytes_clock: float
    memory: float
    cache: float
    strided: float
    thin_bytes: float
    tile_clocks: float
    kernel_clocks: float
    gap_us: float
    graph_start: float
    enqueue_us: float
    apart: float
    view: float
    depthwise: float
    pointwise: float
    python_ms: float
    mlperf_ms: float

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """In the order of declaration."""
        return tuple(field.name for field in fields(cls))


@dataclass(frozen=True)
class WorkTable:
    """Layers' work as columns, each (L,)."""

    math: Array
    product: Array
    depthwise: Array
    view: Array
    inside: Array
    epilogue: Array
    launches: Array
    strided: Array
    m: Array
    n: Array
    k: Array
    groups: Array
    read: Array
    weights: Array
    written: Array
    apart: Array
    elements: Array
    row_bytes: Array

    @classmethod
    def from_layers(cls, layers: Sequence[LayerWork]) -> "WorkTable":
        """Columns of the layers."""

        def column(name: str) -> Array:
            return np.array([getattr(layer, name) for layer in layers], dtype=float)

        kinds = np.array([layer.kind for layer in layers])
        return cls(
            math=np.array([_MATHS.index(layer.math) for layer in layers], dtype=int),
            product=kinds == "product",
            depthwise=kinds == "depthwise",
            view=np.isin(kinds, ["slice", "transpose"]),
            inside=kinds == "attention",
            epilogue=(column("epilogue") > 0) & (kinds != "attention"),
            launches=column("launches"),
            strided=column("strided") > 0,
            m=column("m"),
            n=column("n"),
            k=column("k"),
            groups=column("groups"),
            read=column("read_bytes"),
            weights=column("weight_bytes"),
            written=column("write_bytes"),
            apart=column("apart_bytes"),
            elements=column("elements"),
            row_bytes=column("row_bytes"),
        )


@dataclass(frozen=True)
class KernelTimes:
    """Microseconds of each layer, each (L,).

    Attributes:
        compute: in tensor or CUDA cores, feeding from level 2 included.
        memory: of moving the data.
        start: of filling and draining the GPU.
        gpu: of the kernel on the GPU: its start, and the two above, which overlap.
        enqueue: of the CPU to start it.
    """

    compute: Array
    memory: Array
    start: Array
    gpu: Array
    enqueue: Array


@dataclass(frozen=True)
class Tiling:
    """The products, depthwise ones too, cut into tiles in each way that a kernel might.

    Attributes:
        math: (P,) type of the data; the others (P, ways), what one SM does in all waves.
        operations: of the tensor cores; fed, stored: bytes from and to level 2; waves: tiles one
            after another.
    """

    math: Array
    operations: Array
    fed: Array
    stored: Array
    waves: Array

    @classmethod
    def from_work(cls, work: WorkTable, sms: int) -> "Tiling":
        """All ways; a depth too short for a split counts as infinitely many operations."""
        on = work.product | work.depthwise
        math = work.math[on][:, None, None]
        n, k, groups = _pack_groups(
            work.n[on][:, None, None],
            work.k[on][:, None, None],
            work.groups[on][:, None, None],
            math,
        )
        m = work.m[on][:, None, None]
        rows, columns = _TILES[:, 0][None, :, None], _TILES[:, 1][None, :, None]
        splits = _SPLITS[None, None, :]
        depth = np.ceil(k / splits / _STEP_K[math]) * _STEP_K[math]
        tiles = groups * np.ceil(m / rows) * np.ceil(n / columns) * splits
        waves = np.ceil(tiles / sms)
        shallow = (splits > 1) & (depth < 4 * _STEP_K[math])
        operations = np.where(shallow, np.inf, waves * 2 * rows * columns * depth)
        partial = np.where(splits > 1, rows * columns * 4 * 2, 0.0)
        flat = (len(math), len(_TILES) * len(_SPLITS))
        return cls(
            math.reshape(-1),
            operations.reshape(flat),
            (waves * (rows + columns) * depth * _BYTES[math]).reshape(flat),
            (waves * partial).reshape(flat),
            waves.reshape(flat),
        )


def kernel_times(
    work: WorkTable,
    device: Device,
    parameters: Parameters,
    *,
    cuda_graph: bool = False,
    tiling: Tiling | None = None,
) -> KernelTimes:
    """Time of each kernel in microseconds.

    Args:
        work: of the kernels.
        device: board and clocks.
        parameters: of the roofline.
        cuda_graph: the CPU launches all kernels at once.
        tiling: of ``work`` for the device's SMs, where it is made already.
    """
    tiling = tiling or Tiling.from_work(work, device.sms)
    clocks = np.zeros(len(work.m))
    clocks[work.product | work.depthwise] = _product_clocks(tiling, device, parameters)
    in_cores = np.minimum(clocks, _depthwise_clocks(work, device, parameters))
    clocks = np.where(work.depthwise, in_cores, clocks)
    plain = ~(work.product | work.depthwise)
    clocks = np.where(plain, _pointwise_clocks(work, device, parameters), clocks)
    compute = clocks / device.gpu_mhz
    memory = _memory_us(work, device, parameters)
    share = np.where(work.view, parameters.view, 1.0)
    share = np.where(work.epilogue, parameters.apart, share)
    starts = np.where(work.inside, 0.0, share) * work.launches
    start = parameters.gap_us + parameters.kernel_clocks / device.gpu_mhz
    start *= parameters.graph_start if cuda_graph else 1.0
    busy = _overlapped(compute, memory) * share + start * starts
    if device.generation == "blackwell":
        busy = busy * parameters.blackwell
    enqueue = np.zeros_like(busy) if cuda_graph else starts * parameters.enqueue_us
    return KernelTimes(
        compute * share, memory * share, start * starts, busy, enqueue * device.cpu_slowness
    )


def run_us(times: KernelTimes, counts: Array | float = 1.0) -> float:
    """Time of a run: the GPU's, stretched where the CPU cannot enqueue as fast.

    Args:
        times: of the kernels.
        counts: how often each occurs, (L,) or one number.
    """
    gpu, cpu = float((times.gpu * counts).sum()), float((times.enqueue * counts).sum())
    return float(_overlapped(gpu, cpu))


def _product_clocks(tiling: Tiling, device: Device, parameters: Parameters) -> Array:
    """Clocks of the fastest tile shape and split for each product."""
    tensor = _tensor_rates(device, parameters)[tiling.math][:, None]
    busy = np.maximum(tiling.operations / tensor, tiling.fed / parameters.l2_bytes_clock)
    busy += tiling.stored / parameters.l2_bytes_clock
    return np.asarray((busy + tiling.waves * parameters.tile_clocks).min(axis=1))


def _pack_groups(n: Array, k: Array, groups: Array, math: Array) -> tuple[Array, Array, Array]:
    """Thin groups are computed several at a time, zeros between them; depth is aligned."""
    packed = np.minimum(groups, np.maximum(1.0, np.floor(32.0 / n)))
    return n * packed, np.maximum(k * packed, _ALIGN[math]), np.ceil(groups / packed)


def _tensor_rates(device: Device, parameters: Parameters) -> Array:
    shares = np.array(
        [parameters.tensor_int8, parameters.tensor_fp16, parameters.tensor_fp32], dtype=float
    )
    rates = np.array([device.operations_per_clock_sm[name] for name in _RATES], dtype=float)
    return np.asarray(shares * rates)


def _depthwise_clocks(work: WorkTable, device: Device, parameters: Parameters) -> Array:
    """CUDA cores: float32 at their rate, fp16 and int8 twice that."""
    rate = device.operations_per_clock_sm["fp32"] * np.array([2.0, 2.0, 1.0])[work.math]
    operations = 2 * work.m * work.n * work.k * work.groups
    return np.asarray(operations / (rate * device.sms * parameters.depthwise))


def _pointwise_clocks(work: WorkTable, device: Device, parameters: Parameters) -> Array:
    rate = device.operations_per_clock_sm["fp32"] * device.sms
    return work.elements * parameters.pointwise / rate


def _memory_us(work: WorkTable, device: Device, parameters: Parameters) -> Array:
    """Activations that level 2 still holds come from there, the rest from memory."""
    moved = work.read + work.written + work.apart * parameters.apart
    moved = moved * np.where(work.strided, parameters.strided, 1.0)
    room = parameters.cache * device.l2_mb * 1e6
    moved = moved * (1 + parameters.thin_bytes / work.row_bytes)
    missed = moved / (moved + room)
    dram = work.weights + moved * missed
    bus = dram / (device.memory_gb_s * 1e3 * parameters.memory)
    cache = (moved + work.weights) / (parameters.l2_bytes_clock * device.sms * device.gpu_mhz)
    return np.asarray(np.maximum(bus, cache))


def _overlapped(first: Array | float, second: Array | float) -> Array:
    return np.asarray((first**_OVERLAP + second**_OVERLAP) ** (1 / _OVERLAP))
