import ctypes
from contextlib import suppress
from pathlib import Path

import pytest
from fake_cudart import FakeCudart

import kd3d.backends.cuda_runtime as module
from kd3d.backends.cuda_runtime import FUNCTIONS, CudaError, CudaRuntime, open_cuda_runtime


@pytest.fixture
def cudart():
    return FakeCudart()


@pytest.fixture
def cuda(cudart):
    return CudaRuntime(cudart, "libcudart.so.12")


def test_memory_goes_there_and_back(cuda, cudart):
    stream, size = cuda.create_stream(), 6
    source, device, target = cuda.allocate_host(size), cuda.allocate(size), cuda.allocate_host(size)
    ctypes.memmove(source, b"pillar", size)
    cuda.copy_to_device(device, source, size, stream)
    cuda.copy_to_host(target, device, size, stream)
    assert ctypes.string_at(target, size) != b"pillar"  # enqueued, not done
    cuda.synchronize(stream)
    assert ctypes.string_at(target, size) == b"pillar"
    cuda.free(device)
    cuda.free_host(source)
    cuda.free_host(target)
    cuda.destroy_stream(stream)
    assert cudart.live() == 0


def test_events_take_the_time(cuda, cudart):
    stream, events = cuda.create_stream(), [cuda.create_event(), cuda.create_event()]
    cuda.record(events[0], stream)
    cudart.do(stream, lambda: setattr(cudart, "now_ms", cudart.now_ms + 3.5))
    cuda.record(events[1], stream)
    with pytest.raises(CudaError, match="cudaEventElapsedTime failed with cudaErrorNotReady"):
        cuda.elapsed_ms(*events)
    cuda.synchronize(stream)
    assert cuda.elapsed_ms(*events) == pytest.approx(3.5)


def test_graph_is_recorded_once_and_launched_often(cuda, cudart):
    done, stream = [], cuda.create_stream()
    cuda.begin_capture(stream)
    cudart.do(stream, lambda: done.append(1))
    graph = cuda.end_capture(stream)
    cuda.synchronize(stream)
    assert done == []
    for _ in range(3):
        cuda.launch(graph, stream)
    cuda.synchronize(stream)
    assert done == [1, 1, 1]
    cuda.destroy_graph(graph)
    assert not cudart.graphs


def test_errors_have_their_names(cuda):
    with pytest.raises(
        CudaError,
        match=r"libcudart\.so\.12: cudaMalloc failed with "
        r"cudaErrorMemoryAllocation \(2\): in words",
    ):
        cuda.allocate(1 << 40)


def test_gpu_is_read(cuda):
    assert cuda.gpu() == ("Orin", "8.7")
    assert cuda.sms() == 16
    assert cuda.devices() == 1


def test_next_library_is_tried_where_one_is_too_new(monkeypatch):
    new, fitting = FakeCudart(), FakeCudart()
    new.insufficient_driver = True
    libraries = {"libcudart.so.13": new, "libcudart.so.12": fitting}

    def load(path):
        if path not in libraries:
            raise OSError(f"{path}: cannot open shared object file")
        return libraries[path]

    monkeypatch.setattr(module.ctypes, "CDLL", load)
    assert open_cuda_runtime().path == "libcudart.so.12"
    del libraries["libcudart.so.12"]
    with pytest.raises(CudaError) as caught:
        open_cuda_runtime()
    text = str(caught.value)
    assert "libcudart.so.13: cudaGetDeviceCount failed with cudaErrorInsufficientDriver" in text
    assert "libcudart.so.11.0: cannot open shared object file" in text
    assert "LD_LIBRARY_PATH" in text


def test_libraries_beside_nvidias_packages_are_found(monkeypatch, tmp_path):
    path = tmp_path / "nvidia/cuda_runtime/lib/libcudart.so.12"
    path.parent.mkdir(parents=True)
    path.touch()
    monkeypatch.setattr(module.np, "__file__", str(tmp_path / "numpy/__init__.py"))
    assert str(path) in list(module._candidates())


def test_every_function_has_argument_types():
    assert len(FUNCTIONS) == 23
    assert all(isinstance(arguments, list) for arguments in FUNCTIONS.values())


def test_real_library_answers_with_a_name_where_there_is_no_gpu():
    """Only where CUDA is installed without a GPU: then the real calls can be made."""
    found = [path for path in module._candidates() if Path(path).is_absolute()]
    if not found:
        pytest.skip("no libcudart on this machine")
    cuda = CudaRuntime(ctypes.CDLL(found[0]), found[0])
    with suppress(CudaError):
        assert cuda.devices() >= 0
        pytest.skip("there is a GPU")
    with pytest.raises(CudaError, match=r"cudaMalloc failed with cudaError\w+ \(\d+\): \w+"):
        cuda.allocate(1)
