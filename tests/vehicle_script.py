"""Run by test_python38.py under Python 3.8 with NumPy alone: all that a vehicle does.

python vehicle_script.py MODULE...
"""

import hashlib
import importlib
import io
import json
import subprocess
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
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(Path(folder) / "bundle")
        print("measured", measure(bundle, Path(folder)))
        print("served", serve(bundle, Path(folder)))
        print("far end answered", far_end(folder))
    print("voxels", voxels())


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
        with TrtBackend(engine, cuda_graph=True) as backend:
            np.testing.assert_array_equal(backend.infer(feeds)["y"], 2 * feeds["x"])
            with backend.prepare(feeds) as run:
                assert abs(run.timed().device_ms - 1.0) < 1e-6
            assert [layer.name for layer in backend.layer_times(feeds)] == ["double"]
    assert cudart.live() == 0


def write_bundle(folder):
    """A bundle of DoublingModel."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"doubles")
    digest = hashlib.sha256(b"doubles").hexdigest()
    content = {
        "models": {"fp32": {"file": "model.onnx", "sha256": digest, "kept_fp32": []}},
        "inputs": [{"name": "x", "shape": [None, 2], "dtype": "float32"}],
        "outputs": ["y"],
        "profiles": {"x": {"min": [1, 2], "opt": [1, 2], "max": [3, 2]}},
        "batch": None,
        "input_text": "2",
        "config": "toy.py",
        "config_hash": "c" * 12,
        "checkpoint": "toy.pth",
        "checkpoint_hash": "d" * 12,
        "parameters": 0,
    }
    (folder / "export.json").write_text(json.dumps(content))
    x = np.ones((1, 2), np.float32)
    np.savez(folder / "sample.npz", **{"input/x": x, "output/y": 2 * x})
    return folder


def measure(bundle, folder):
    """What `python3 -m kd3d.profiling.on_vehicle` says of it."""
    from kd3d.profiling import on_vehicle

    out = folder / "result.json"
    places = ["--engines", str(folder / "engines"), "--out", str(out)]
    on_vehicle.main([str(bundle), "--backend", "tensorrt", "--energy-s", "0", *places])
    (result,) = json.loads(out.read_text())["results"]
    assert result["metrics"]["p50_ms"] > 0
    return int(result["metrics"]["iterations"])


def serve(bundle, folder):
    """The answer of `python3 -m kd3d.backends.serve` to one question."""
    from kd3d.backends import serve as far
    from kd3d.backends.bundle import Bundle
    from kd3d.backends.open_bundle import open_bundle

    content = far.bytes_from_arrays({"x": np.full((2, 2), 3, np.float32)})
    question = len(content).to_bytes(far.LENGTH_BYTES, "big") + content
    answers = io.BytesIO()
    with open_bundle(Bundle.read(bundle), "tensorrt", engines=folder / "engines") as backend:
        far.serve(backend, io.BytesIO(question), answers)
    head, _, body = answers.getvalue().partition(b"\n")
    assert json.loads(head.decode().split(" ", 1)[1]) == {"size": len(body)}
    return far.arrays_from_bytes(body)["y"].tolist()


def far_end(cache):
    """The Python that the script at the far end of an SSH connection found itself in."""
    from kd3d.backends import vehicle_side

    done = subprocess.run(
        [sys.executable, vehicle_side.__file__],
        input=b'{"verb": "missing", "files": ["0"]}\n',
        env={"XDG_CACHE_HOME": cache},
        stdout=subprocess.PIPE,
        check=True,
    )
    answer = json.loads(done.stdout.decode().split(" ", 1)[1])
    assert answer["missing"] == {"0": 0}
    return answer["python"][:2]


def voxels():
    """A hash of what the host step makes of points that are the same everywhere."""
    from kd3d.export.voxelization import Voxelization, network_feeds

    grid = Voxelization((0.4, 0.4, 8.0), (-9.6, -9.6, -5.0, 9.6, 9.6, 3.0), 5, 800)
    points = np.random.RandomState(0).uniform(-10, 10, (5000, 4)).astype(np.float32)
    feeds = network_feeds([points], grid)
    assert len(feeds["pillars"]) == 800, "as many as the grid takes"
    content = b"".join(np.ascontiguousarray(feeds[name]).tobytes() for name in sorted(feeds))
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main(sys.argv[1:])
