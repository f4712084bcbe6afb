"""Gets TensorRT's real Python bindings to import on a machine without a GPU.

The extension module of a wheel wants a dozen entry points of libnvinfer and its companions. A
library of that name with those entry points, each returning a null pointer, is compiled on the
spot. Every class, method and enum is then there to look at, and nothing can be run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from trt_used_names import Surface

SURFACE_SCRIPT = Path(__file__).with_name("trt_surface.py")
PYTHONS = ("3.10", "3.11", "3.12", "3.9", "3.8")  # 3.10 has wheels of every version


class CheckError(Exception):
    """Something that the person at the keyboard can mend."""


@dataclass(frozen=True)
class Wheel:
    """A release on PyPI: the distribution, its version, and the board that ships it."""

    distribution: str
    version: str
    board: str


WHEELS = (
    Wheel("tensorrt", "8.5.2.2", "JetPack 5.1"),
    Wheel("tensorrt", "8.6.0", "JetPack 6.0 has 8.6.2"),
    Wheel("tensorrt-cu12-bindings", "10.3.0", "JetPack 6.1, 6.2"),
    Wheel("tensorrt-cu12-bindings", "10.16.1.11", "JetPack 7.2"),
    Wheel("tensorrt-cu12-bindings", "11.4.0.106", "JetPack 7.2.2 has 11.4.1"),
)


def surface_of_wheel(wheel: Wheel, work_dir: Path) -> Surface:
    """Downloads a wheel into the folder, imports its bindings, lists what they have.

    Raises:
        CheckError: if a compiler, a Python or the wheel cannot be had.
    """
    python, path = _download(wheel, work_dir)
    folder = work_dir / f"tensorrt-{wheel.version}"
    extension = _extract(path, folder)
    stubs = _compile_stubs(extension, folder / "stubs")
    out = folder / "surface.json"
    command = [str(python), str(SURFACE_SCRIPT), extension.parent.name, str(out)]
    _run(command, {"LD_LIBRARY_PATH": str(stubs), "PYTHONPATH": str(folder)})
    surface: Surface = json.loads(out.read_text(encoding="utf-8"))
    return surface


def download(requirement: str, python: Path, wheels: Path) -> Path:
    """A wheel from PyPI for a Python, downloaded unless the folder has it.

    Args:
        requirement: "name==version".
        python: whose wheels are looked for.
        wheels: a folder for the wheels of this Python alone.

    Raises:
        CheckError: with pip's words.
    """
    name, _, version = requirement.partition("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    wheels.mkdir(parents=True, exist_ok=True)
    if not list(wheels.glob(pattern)):
        with tempfile.TemporaryDirectory(dir=wheels) as temporary:
            pip = [str(python), "-m", "pip", "download", "--quiet", "--no-deps"]
            _run([*pip, "--only-binary=:all:", "--dest", temporary, requirement], {})
            (found,) = Path(temporary).glob("*.whl")
            found.rename(wheels / found.name)
    return next(wheels.glob(pattern))


def find_pythons() -> dict[str, Path]:
    """Interpreters by version, "3.10": this one, those in PATH, and those of pyenv."""
    candidates = [Path(sys.executable)]
    names = [f"python{version}" for version in PYTHONS]
    candidates += [Path(found) for found in map(shutil.which, names) if found]
    candidates += sorted((Path.home() / ".pyenv/versions").glob("3.*/bin/python"))
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    found: dict[str, Path] = {}
    for path in candidates:
        done = subprocess.run([path, "-c", question], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found.setdefault(done.stdout.strip(), path)
    return found


def _download(wheel: Wheel, work_dir: Path) -> tuple[Path, Path]:
    """A Python that has a wheel of the version, in a virtual environment, and the wheel."""
    pythons = find_pythons()
    said = []
    for version in PYTHONS:
        if version not in pythons:
            continue
        python = work_dir / f"venv-{version}" / "bin/python"
        if not python.exists():
            _run([str(pythons[version]), "-m", "venv", str(python.parents[1])], {})
        try:
            requirement = f"{wheel.distribution}=={wheel.version}"
            return python, download(requirement, python, work_dir / f"wheels-{version}")
        except CheckError as error:
            said.append(f"Python {version}: {error}")
    raise CheckError(
        f"no wheel of {wheel.distribution} {wheel.version} for a Python of this machine; have "
        f"python3.10 or python3.8 in PATH.\n" + "\n".join(said)
    )


def _extract(wheel: Path, folder: Path) -> Path:
    """Unpacks the Python part (a complete wheel has a gigabyte beside it); its extension."""
    with zipfile.ZipFile(wheel) as archive:
        names = [
            name
            for name in archive.namelist()
            if re.search(r"^tensorrt\w*/.*(\.py|tensorrt\.so)$", name)
        ]
        archive.extractall(folder, names)
    (extension,) = [folder / name for name in names if name.endswith("/tensorrt.so")]
    return extension


def _compile_stubs(extension: Path, folder: Path) -> Path:
    """A library for each that the extension asks for, with all entry points it wants."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [tool for tool in ("gcc", "nm", "readelf") if shutil.which(tool) is None]
    if missing:
        raise CheckError(f"needs {', '.join(missing)}: apt-get install gcc binutils")
    wanted = _run(["nm", "-D", "--undefined-only", str(extension)], {}).split()
    ours = r"create\w+_INTERNAL|get\w*PluginRegistry|getNv\w+|initLibNv\w+|_ZN\d+nv\w+"
    symbols = sorted({name for name in wanted if re.fullmatch(ours, name)})
    source = folder / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in symbols))
    needed = _run(["readelf", "-d", str(extension)], {})
    for name in re.findall(r"\[(libnv\w+\.so\.\d+)\]", needed):
        _run(
            [
                "gcc",
                "-shared",
                "-fPIC",
                f"-Wl,-soname,{name}",
                "-o",
                str(folder / name),
                str(source),
            ],
            {},
        )
    return folder


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    if done.returncode:
        raise CheckError(f"{' '.join(command[:4])}: {done.stderr.strip()[-600:]}")
    return done.stdout
