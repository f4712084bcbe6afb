"""Trees of files like those of boards, and an sshd, where there is one."""

from collections.abc import Callable

import pytest
from loopback_ssh import vehicle

from kd3d.profiling.system import System

__all__ = ["system", "vehicle"]


@pytest.fixture
def system(tmp_path) -> Callable[..., System]:
    """A System of files (absolute path -> text), programs (first words -> output) and links."""

    def make(files=(), programs=(), links=()):
        root = tmp_path / "root"
        for path, text in dict(files).items():
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        for path, goal in dict(links).items():
            link = root / path.lstrip("/")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(goal)

        def run(command):
            line = " ".join(map(str, command))
            return next((out for words, out in dict(programs).items() if words in line), "")

        root.mkdir(exist_ok=True)
        return System(root, run)

    return make
