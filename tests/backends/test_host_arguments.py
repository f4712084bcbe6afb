import argparse
from pathlib import Path

import pytest

from kd3d.backends.host_arguments import add_host_arguments, host_from_args
from kd3d.backends.ssh import Host
from kd3d.errors import UserError


def host_of(*arguments):
    parser = argparse.ArgumentParser()
    add_host_arguments(parser)
    return host_from_args(parser.parse_args([*map(str, arguments)]))


def test_every_argument_reaches_its_place(tmp_path):
    key = tmp_path / "key"
    key.touch()
    found = host_of(
        *("--host", "me@orin", "--port", 2222, "--identity", key, "--ssh-config", "/dev/null"),
        *("--remote-python", "python3.8"),
    )
    assert found == Host("me@orin", 2222, key, Path("/dev/null"), "python3.8")
    assert host_of("--host", "orin") == Host("orin")
    assert host_of() is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", 22], "--port is of a vehicle; name it with --host"),
        (["--remote-python", "python3"], "--remote-python is of a vehicle"),
        (["--host", "orin", "--port", 0], "--port 0: expected 1 to 65535"),
        (["--host", "orin", "--port", 65536], "--port 65536: expected"),
        (["--host", "orin", "--identity", "/no/key"], "--identity /no/key: there is no such file"),
        (["--host", "orin", "--ssh-config", "/no/file"], "--ssh-config /no/file: there is no"),
    ],
)
def test_mistakes(arguments, words):
    with pytest.raises(UserError, match=words):
        host_of(*arguments)
