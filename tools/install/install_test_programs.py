"""Installs what tests are skipped without: an sshd, which is not started, and Python 3.8.

Run by .ci/run, on Debian or Ubuntu, as root or with a sudo that asks nothing:

    python tools/install/install_test_programs.py

What is there is left alone. What cannot be installed is said, with the tests that are skipped
then; the exit code is 0 all the same.
"""

import argparse
import os
import shutil
import subprocess
from collections.abc import Sequence

from install_vehicle_python import find_python38

LIMIT_S = 300.0
SBIN = "/usr/sbin:/usr/local/sbin"
# With that file dpkg starts no service: the tests start an sshd of their own.
SCRIPT = r"""
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap "rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update >&2
apt-get -qq -o DPkg::Lock::Timeout=60 install -y --no-install-recommends "$@"
"""


def main() -> int:
    """Installs what is missing; returns the exit code, which is 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    if not has_sshd():
        bring("the tests over ssh", ["openssh-server", "openssh-client"])
    if find_python38() is None:
        bring("the test of the vehicle's code on Python 3.8", ["python3.8", "python3.8-venv"])
    return 0


def has_sshd() -> bool:
    """Whether there is all that tests/loopback_ssh.py looks for."""
    path = f"{os.environ.get('PATH', '')}:{SBIN}"
    return all(shutil.which(name, path=path) for name in ("sshd", "ssh", "ssh-keygen"))


def bring(what: str, packages: Sequence[str]) -> None:
    """Installs packages and says how it went."""
    reason = why_not_installed(packages)
    if reason:
        print(f"skipped: {what}: {packages[0]} cannot be installed: {reason}", flush=True)
    else:
        print(f"installed {' and '.join(packages)}, for {what}", flush=True)


def why_not_installed(packages: Sequence[str]) -> str:
    """Installs packages; empty if that went well, otherwise apt-get's first error."""
    if shutil.which("apt-get") is None:
        return "there is no apt-get here"
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    try:
        done = subprocess.run(
            [*root, "sh", "-c", SCRIPT, "sh", *packages],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except FileNotFoundError:
        return "that needs root, and there is no sudo"
    except subprocess.TimeoutExpired:
        return f"apt-get took longer than {LIMIT_S:g} s"
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return next((line for line in said if line.startswith("E: ")), said[-1])


if __name__ == "__main__":
    raise SystemExit(main())
