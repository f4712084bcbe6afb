"""Opens what the gate questions, here or on a vehicle: a file of the export, or a part of one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kd3d.backends.base import Backend
from kd3d.backends.bundle import Bundle
from kd3d.backends.open_bundle import engine_cache, open_bundle
from kd3d.backends.ort import OnnxRuntimeBackend
from kd3d.backends.part_bundle import part_bundle
from kd3d.backends.remote import RemoteBackend
from kd3d.backends.ssh import Host, Say
from kd3d.export.open_backend import open_backend


@dataclass(frozen=True)
class Candidates:
    """The backends of one export.

    Attributes:
        bundle: the export.
        host: the vehicle that runs them; None is this machine.
        say: told of lost connections.
    """

    bundle: Bundle
    host: Host | None
    say: Say

    def file(self, backend: str, precision: str) -> Backend:
        """The file of a precision."""
        return open_backend(
            self.bundle.folder, backend, precision=precision, host=self.host, say=self.say
        )

    def parts(self, backend: str, work_dir: Path) -> Callable[[Path], Backend]:
        """What opens a part of a file; ``work_dir`` keeps what it needs until it is closed."""
        if self.host is None and backend == "onnxruntime":
            return OnnxRuntimeBackend

        def opened(part: Path) -> Backend:
            bundle = part_bundle(self.bundle, part, work_dir / "part")
            if self.host is not None:
                return RemoteBackend(bundle, self.host, backend, say=self.say, keep=False)
            # the whole file's engine has measured most kernels of its parts
            own = bundle.folder / "engines"
            return open_bundle(bundle, backend, engines=own, timing_dir=engine_cache())

        return opened
