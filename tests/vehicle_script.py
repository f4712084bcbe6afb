"""Run by test_python38.py under Python 3.8 with NumPy alone: imports all, then builds and runs.

python vehicle_script.py MODULE...
"""

import importlib
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
from fake_cudart import FakeCudart
from fake_tensorrt import VERSIONS, fake_tensorrt

Layer = namedtuple("Layer", "name operator kind inputs types")


class DoublingModel:
    """Stands for an ONNX file, as neither onnx nor onnxruntime is on the vehicle: y = 2 x."""

    inputs = (("x", ("batch", 2), "float32"),)
    outputs = (("y", ("batch", 2), "float32"),)
    layers = (Layer("double", "Mul", "ELEMENTWISE", ("x",), {"y": "FLOAT"}),)

    def __init__(self, path, content=None):
        self.path = Path(path)

    def run(self, feeds):
        return {"y": 2 * feeds["x"]}


def main(modules):
    for name in modules:
        importlib.import_module(name)
    brought = {name.partition(".")[0] for name in sys.modules}
    assert not brought & {"torch", "mmengine", "onnx", "onnxruntime", "typing_extensions"}, brought
    print("imported {} modules".format(len(modules)))  # noqa: UP032
    for version in VERSIONS:
        build_and_run(version)
    print("ran {} versions".format(len(VERSIONS)))  # noqa: UP032


def build_and_run(version):
    from kd3d.backends import cuda_runtime
    from kd3d.backends.engine import engine_from_onnx
    from kd3d.backends.trt import TrtBackend

    cudart = FakeCudart()
    sys.modules["tensorrt"], _ = fake_tensorrt(version, cudart, DoublingModel)
    cuda_runtime.ctypes.CDLL = lambda path: cudart
    shapes = {"x": {"min": [1, 2], "opt": [1, 2], "max": [3, 2]}}
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(3, 2)}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "double.onnx"
        model.write_bytes(b"doubles")
        engine = engine_from_onnx(model, folder, profiles=shapes)
        with TrtBackend(engine) as backend:
            np.testing.assert_array_equal(backend.infer(feeds)["y"], 2 * feeds["x"])
            with backend.prepare(feeds, graph=True) as run:
                assert abs(run.timed().device_ms - 1.0) < 1e-6
            assert [layer.name for layer in backend.layer_times(feeds)] == ["double"]
    assert cudart.live() == 0


if __name__ == "__main__":
    main(sys.argv[1:])
