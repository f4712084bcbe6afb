"""Work of the networks in a folder of ONNX files, each read once."""

from functools import lru_cache
from pathlib import Path

from kd3d.profiling.prediction.fusion import FusedGraph, fuse
from kd3d.profiling.prediction.kernel_work import LayerWork
from kd3d.profiling.prediction.layer_work import layer_work
from kd3d.profiling.prediction.onnx_graph import graph_from_onnx
from kd3d.profiling.prediction.published_rows import PublishedRow


class NetworkWork:
    """Kernels of networks by name and precision.

    Attributes:
        folder: of ``NAME.onnx``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fused = lru_cache(maxsize=None)(self._read)
        self._work = lru_cache(maxsize=None)(self._count)

    def of(self, row: PublishedRow) -> list[LayerWork]:
        """Kernels of the row's network in its precision."""
        return self._work(row.network, row.precision, row.float_type)

    def _read(self, network: str) -> FusedGraph:
        return fuse(graph_from_onnx(self.folder / f"{network}.onnx"))

    def _count(self, network: str, precision: str, float_type: str) -> list[LayerWork]:
        return layer_work(self._fused(network), precision, float_type)
