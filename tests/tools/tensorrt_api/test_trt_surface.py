import json
import subprocess
import sys
from enum import IntEnum
from pathlib import Path
from types import ModuleType

from cuda_library import header_problems
from fake_tensorrt import SURFACES, VERSIONS
from module_imports import ROOT
from trt_bindings import download, find_pythons
from trt_compare import accepts, parameters_of
from trt_surface import surface_of

from kd3d.backends.cuda_runtime import FUNCTIONS


def documented(text):
    def method(self):
        raise NotImplementedError

    method.__doc__ = text
    return method


class Kind(IntEnum):
    """Has __members__, as pybind11's have."""

    A, B = 1, 2


class Builder:
    __init__ = documented(
        "__init__(self: trt.tensorrt.Builder, logger: trt.tensorrt.ILogger) -> None"
    )
    build = documented(
        "build(*args, **kwargs)\nOverloaded function.\n\n"
        "1. build(self: trt.tensorrt.Builder, flags: int = 0) -> trt.tensorrt.Engine\n\n"
        "    Builds.\n\n2. build(self: trt.tensorrt.Builder, name: str) -> trt.tensorrt.Engine\n"
    )
    fixed = property(lambda self: 1)
    free = property(lambda self: 1, lambda self, value: None)


def test_names_and_signatures_are_kept_and_no_text():
    module = ModuleType("trt")
    module.__version__, module.Builder, module.Kind = "1.2", Builder, Kind
    module.start = documented("start(logger: capsule, namespace: str) -> bool")
    surface = surface_of(module)
    assert surface["functions"] == {
        "start": {"signatures": ["start(logger: capsule, namespace: str) -> bool"]}
    }
    assert surface["tensorrt"] == "1.2"
    assert surface["classes"]["Kind"]["values"] == {"A": 1, "B": 2}
    assert surface["classes"]["Builder"]["members"] == {
        "__init__": {"signatures": ["__init__(self: Builder, logger: ILogger) -> None"]},
        "build": {
            "signatures": [
                "build(self: Builder, flags: int = 0) -> Engine",
                "build(self: Builder, name: str) -> Engine",
            ]
        },
        "fixed": {"writable": False},
        "free": {"writable": True},
    }


def test_parameters_are_split_at_their_commas():
    text = "f(self: X, sizes: Dict[str, int], flag: E = <E.A: 0>, size: int = 0) -> List[int]"
    assert parameters_of(text) == [
        ("self", "X", False),
        ("sizes", "Dict[str, int]", False),
        ("flag", "E", True),
        ("size", "int", True),
    ]
    assert accepts(text, 2, ("size",))
    assert not accepts(text, 1, ())
    assert not accepts(text, 2, ("sizes",))


def test_data_is_of_the_versions_that_it_is_named_for():
    assert sorted(path.stem for path in SURFACES.glob("*.json")) == sorted(VERSIONS)
    for version in VERSIONS:
        assert json.loads((SURFACES / f"{version}.json").read_text())["tensorrt"] == version


def test_header_is_compared_by_the_number_of_arguments():
    lines = [
        f"extern cudaError_t CUDARTAPI {name}({', '.join(['int x'] * len(arguments))});"
        for name, arguments in FUNCTIONS.items()
    ]
    assert header_problems("\n".join(lines)) == []
    place = list(FUNCTIONS).index("cudaMalloc")
    lines[place] = "extern cudaError_t CUDARTAPI cudaMalloc(void **pointer);"
    (problem,) = header_problems("\n".join(lines))
    assert problem == "cudaMalloc: expected 2 arguments, the header has 1"


def test_a_folder_that_cannot_be_made_is_a_message():
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "tools/tensorrt_api/check_tensorrt_api.py",
            "--work-dir",
            "/dev/null",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_wheel_that_is_there_is_not_downloaded_again(tmp_path):
    wheel = tmp_path / "tensorrt_cu12_bindings-10.3.0-cp310-none-linux_x86_64.whl"
    wheel.touch()
    no_python = tmp_path / "absent"
    assert download("tensorrt-cu12-bindings==10.3.0", no_python, tmp_path) == wheel


def test_this_python_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # without those of pyenv, which take their time
    monkeypatch.setenv("PATH", str(tmp_path))
    version = "{}.{}".format(*sys.version_info)
    assert find_pythons()[version] == Path(sys.executable)
