import re
import sys

import cpp_build
import install_mmcv
import pytest


def script(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_version_comes_from_our_pyproject():
    text = install_mmcv.PYPROJECT.read_text(encoding="utf-8")
    assert re.fullmatch(r"2\.\d+\.\d+", install_mmcv.pinned_version(text))


def test_pyproject_without_mmcv_is_an_error():
    with pytest.raises(cpp_build.SetupError, match=r"mmcv==X\.Y\.Z"):
        install_mmcv.pinned_version('dependencies = ["mmengine==0.10.7"]')


def test_missing_compiler_says_what_to_install(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(cpp_build.SetupError, match=r"no-such-compiler.*apt-get install g"):
        cpp_build.python_headers()


def test_missing_headers_say_what_to_install(monkeypatch, tmp_path):
    compiler = script(tmp_path, "c++", "echo 'fatal error: Python.h: No such file' >&2; exit 1")
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(cpp_build, "headers_of_distribution", list)
    with pytest.raises(cpp_build.SetupError, match=r"apt-get install libpython3\.\d+-dev"):
        cpp_build.python_headers()


def test_broken_compiler_is_quoted(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(script(tmp_path, "c++", "echo 'no vector' >&2; exit 1")))
    with pytest.raises(cpp_build.SetupError, match="does not work:\nno vector"):
        cpp_build.python_headers()


def test_build_searches_unpacked_headers_before_those_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("CPLUS_INCLUDE_PATH", "/their/include")
    monkeypatch.setenv("MAX_JOBS", "7")
    environment = cpp_build.build_environment([tmp_path / "a", tmp_path / "b"])
    assert environment["CPLUS_INCLUDE_PATH"] == f"{tmp_path}/a:{tmp_path}/b:/their/include"
    assert environment["MAX_JOBS"] == "7"
    assert environment["MMCV_WITH_OPS"] == "1"


def test_failed_build_ends_with_the_last_lines_of_its_log(monkeypatch, tmp_path):
    lines = "for n in $(seq 1 50); do echo line $n; done; exit 1"
    monkeypatch.setattr(sys, "executable", str(script(tmp_path, "python", lines)))
    monkeypatch.setattr(install_mmcv, "LOG", tmp_path / "build.log")
    with pytest.raises(cpp_build.SetupError) as failure:
        install_mmcv.pip_install({})
    shown = str(failure.value).splitlines()
    # 50 lines were printed, the last 30 are shown: 21 to 50
    assert shown[1] == "line 21"
    assert shown[30] == "line 50"
    assert str(tmp_path / "build.log") in shown[31]
    assert (tmp_path / "build.log").read_text().splitlines()[0] == "line 1"
