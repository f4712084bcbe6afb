"""A real sshd on the loopback, and a wire to it that can be cut."""

import contextlib
import getpass
import os
import pwd
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kd3d.backends.ssh import Host

_SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
PRIVILEGE_FOLDER = Path("/run/sshd")  # where an sshd of root locks up its unprivileged half


def why_not():
    """Why there can be no sshd here; empty if there can."""
    for program in ("sshd", "ssh", "ssh-keygen"):
        if shutil.which(program, path=_SBIN) is None:
            return f"needs {program}: apt install openssh-server openssh-client"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("sshd")
        except KeyError:
            return "an sshd of root needs the user 'sshd'; run the tests as another user"
    return ""


@pytest.fixture
def vehicle(tmp_path):
    """For a conftest.py to import: a running Vehicle, or the reason why there is none."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = tmp_path / "vehicle"
    folder.mkdir()
    with Vehicle(folder) as running:
        yield running


class Vehicle:
    """sshd with its own keys and settings, for one test; ``cache`` is the remote cache."""

    def __init__(self, folder):
        self.folder = folder
        self.cache = folder / "cache" / "kd3d"
        self.port = free_port()
        for name in ("host", "user", "stranger"):
            key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(key, check=True)
        shutil.copy(folder / "user.pub", folder / "authorized_keys")
        (folder / "cache").mkdir()
        settings = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": folder / "host",
            "PidFile": "none",
            "AuthorizedKeysFile": folder / "authorized_keys",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "UsePAM": "no",
            "StrictModes": "no",  # pytest's folders may be writable by others
            "PermitRootLogin": "prohibit-password",
            "MaxStartups": "100",
            "SetEnv": f"XDG_CACHE_HOME={folder / 'cache'}",
        }
        (folder / "sshd_config").write_text(_lines(settings))
        self.write_client_settings()

    def write_client_settings(self, known="host"):
        """Settings of the client; ``known``: whose key it takes for the host's, None: nobody's."""
        lines = ""
        if known is not None:
            key = " ".join((self.folder / f"{known}.pub").read_text().split()[:2])
            lines = f"vehicle {key}\n"
        (self.folder / "known_hosts").write_text(lines)
        settings = {
            "HostKeyAlias": "vehicle",  # the same behind each wire
            "UserKnownHostsFile": self.folder / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "IdentityAgent": "none",
            "KexAlgorithms": "curve25519-sha256",  # the cheapest: a test connects often
            "LogLevel": "ERROR",
        }
        (self.folder / "ssh_config").write_text(_lines(settings))

    def host(self, **changes):
        """How kd3d reaches it."""
        settings = {
            "address": f"{getpass.getuser()}@127.0.0.1",
            "port": self.port,
            "identity": self.folder / "user",
            "config": self.folder / "ssh_config",
            "python": sys.executable,
        }
        return Host(**{**settings, **changes})

    def left_behind(self):
        """Files in the remote cache that are no cached content."""
        found = [path for path in self.cache.rglob("*") if path.is_file()]
        return [path for path in found if path.parent != self.cache / "files"]

    def __enter__(self):
        if os.geteuid() == 0:
            PRIVILEGE_FOLDER.mkdir(mode=0o755, exist_ok=True)
        sshd = shutil.which("sshd", path=_SBIN)
        command = [sshd, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with (self.folder / "sshd.log").open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log)
        limit = time.monotonic() + 10
        while not _answers(self.port):
            assert time.monotonic() < limit, (self.folder / "sshd.log").read_text()
            time.sleep(0.02)
        return self

    def __exit__(self, *exception):
        self.process.terminate()
        self.process.wait()


class Wire:
    """Forwards a port of the loopback.

    ``cut`` ends all that goes through it at once; after ``end`` nothing gets through any more.
    """

    def __init__(self, target_port):
        self.target_port = target_port
        self.cuts = 0
        self._ends = set()
        self._lock = threading.Lock()

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.end()

    def end(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        self._listener.close()
        self.cut()

    def cut(self):
        with self._lock:
            ends, self._ends = self._ends, set()
            self.cuts += 1
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target_port))
            with self._lock:
                self._ends |= {client, server}
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source, target):
        with contextlib.suppress(OSError):
            while block := source.recv(1 << 14):
                target.sendall(block)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def _answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _lines(settings):
    return "".join(f"{name} {value}\n" for name, value in settings.items())
