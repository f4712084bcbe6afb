import json
import subprocess
import sys
from pathlib import Path

import pytest
from loopback_ssh import free_port

from kd3d.backends.ssh import (
    ConnectionLostError,
    Host,
    ask,
    check_end,
    parse_answer,
    with_retries,
)
from kd3d.errors import UserError


def first_question(host):
    return ask(host, "missing", files=["0" * 64])


def test_the_far_end_answers(vehicle):
    found = first_question(vehicle.host())
    assert found["missing"] == {"0" * 64: 0}
    assert tuple(found["python"]) == sys.version_info[:3]
    assert Path(found["cache"]) == vehicle.cache


def test_arguments_reach_the_program_as_they_are(vehicle, tmp_path):
    spoken = ["it's", "$(touch x)", "`id`", "two  spaces", "new\nline", ";", "*", "", "a'\"b"]
    show = "import sys, json; print(json.dumps(sys.argv[1:]))"
    command = vehicle.host().command([sys.executable, "-c", show, *spoken])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == spoken


def test_an_unknown_host_is_refused(vehicle):
    vehicle.write_client_settings(known=None)
    with pytest.raises(UserError, match="its host key is not known") as error:
        first_question(vehicle.host())
    assert "Run 'ssh " in str(error.value)
    assert "ssh-keygen -lf" in str(error.value)


def test_another_host_than_the_known_one_is_refused(vehicle):
    vehicle.write_client_settings(known="stranger")
    with pytest.raises(UserError, match="another machine answers"):
        first_question(vehicle.host())


def test_a_key_that_is_not_allowed_is_refused_without_a_question(vehicle):
    host = vehicle.host(identity=vehicle.folder / "stranger")
    with pytest.raises(UserError, match="accepts none of your keys"):
        first_question(host)


def test_a_python_that_is_not_there_is_named(vehicle):
    with pytest.raises(UserError, match="no '/no/python3' there; name one with --remote-python"):
        first_question(vehicle.host(python="/no/python3"))


def test_nobody_listening_is_a_lost_connection(tmp_path):
    empty = tmp_path / "config"
    empty.write_text("")
    with pytest.raises(ConnectionLostError, match="refused"):
        first_question(Host("127.0.0.1", port=free_port(), config=empty))


@pytest.mark.parametrize("address", ["", "-oProxyCommand=touch x", "host\nname"])
def test_an_address_is_no_option(address):
    with pytest.raises(UserError, match="expected host or user@host"):
        Host(address).command(["true"])


def test_the_command_asks_nothing_and_trusts_nobody_new():
    command = Host("me@orin", port=2222, identity=Path("key")).command(["ls", "a b"])
    assert {"-oBatchMode=yes", "-oStrictHostKeyChecking=yes"} <= set(command)
    assert command[-3:] == ["--", "me@orin", "ls 'a b'"]
    assert command[command.index("-p") + 1] == "2222"
    assert command[command.index("-i") + 1] == "key"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("me@orin", "orin"),
        ("orin-3.fleet_a", "orin-3.fleet_a"),
        ("fleet/../../car 1", "fleet%2F..%2F..%2Fcar%201"),
        ("me@fe80::1%eth0", "fe80%3A%3A1%25eth0"),
        ("ssh://me@orin:22", "orin%3A22"),
        ("a\\b", "a%5Cb"),
    ],
)
def test_a_name_is_one_part_of_a_path(address, name):
    assert Host(address).name == name


def test_an_end_that_asks_for_another_attempt_is_a_lost_connection():
    with pytest.raises(ConnectionLostError, match="orin: what had arrived of a file is gone"):
        check_end(Host("orin"), 75, b"what had arrived of a file is gone\n")


def test_a_login_shells_greeting_is_no_answer():
    assert parse_answer(b"Welcome to Ubuntu\n") is None
    assert parse_answer(b'kd3d-answer {"a": 1}\n') == {"a": 1}


def test_half_an_answer_is_none():
    assert parse_answer(b'kd3d-answer {"state": "ended", "result": "{') is None


def test_ends_are_told_apart():
    host = Host("orin")
    check_end(host, 0, b"")
    with pytest.raises(ConnectionLostError, match="orin: Broken pipe"):
        check_end(host, 255, b"client_loop: send disconnect: x\nBroken pipe\n")
    with pytest.raises(UserError, match="orin: No space left on device"):
        check_end(host, 1, b"Traceback\nNo space left on device\n")
    lines = "error: a.onnx: TensorRT cannot parse it:\n  node 3: Exp\nexport it again"
    with pytest.raises(UserError) as error:
        check_end(host, 2, f"Welcome\n{lines}\n".encode())
    assert f"error: {error.value}" == lines.replace("a.onnx", "orin: a.onnx")
    with pytest.raises(UserError, match="no such host"):
        check_end(host, 255, b"ssh: Could not resolve hostname orin: Name not known\n")


LOST = b"client_loop: send disconnect: Broken pipe\r\n"
CHANGED = (
    b"@@@@@@@@@@\r\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n"
    b"Host key verification failed.\r\n"
)


@pytest.mark.parametrize(
    "there",
    [
        b"bash: /etc/profile.d/x.sh: Permission denied\n",
        b"git@fleet: Permission denied (publickey).\n",
        b"ssh: Could not resolve hostname mirror: Name not known\n",
        b"/etc/x: line 1: Bad configuration option: y\n",
        CHANGED,
    ],
)
@pytest.mark.parametrize("end", [LOST, b"Timeout, server orin not responding.\r\n"])
def test_words_of_the_far_end_before_a_lost_connection_are_no_refusal(there, end):
    with pytest.raises(ConnectionLostError, match=r"orin: (client_loop|Timeout)"):
        check_end(Host("orin"), 255, there + end)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"me@orin: Permission denied (publickey,password).\r\n", r"\(me@orin: Permission denied"),
        (b"Host key verification failed.\r\n", "its host key is not known"),
        (CHANGED, "another machine answers"),
    ],
)
@pytest.mark.parametrize(
    "closing",
    [
        b"",  # the rest: of a host on the way, whose end the outer ssh sees
        b"kex_exchange_identification: Connection closed by remote host\r\n",
        b"kex_exchange_identification: Connection closed by remote host\r\n"
        b"Connection closed by UNKNOWN port 65535\r\n",
    ],
)
def test_ssh_gives_its_reason_last_or_before_the_end_of_a_jump(text, said, closing):
    with pytest.raises(UserError, match=said):
        check_end(Host("orin"), 255, b"a banner: Permission denied\n" + text + closing)


def test_a_wrong_setting_is_quoted():
    lines = b"c: line 1: Bad configuration option: foo\r\n"
    closing = b"c: terminating, 1 bad configuration options\r\n"
    with pytest.raises(UserError, match=r"configuration is wrong: c: line 1: Bad .*: foo$"):
        check_end(Host("orin"), 255, lines + closing)


def test_only_keys_are_offered_whatever_the_configuration_says(tmp_path):
    settings = tmp_path / "config"
    settings.write_text(
        "PreferredAuthentications gssapi-with-mic,hostbased,keyboard-interactive,password\n"
        "HostbasedAuthentication yes\nPasswordAuthentication yes\n"
        "KbdInteractiveAuthentication yes\nBatchMode no\n"
    )
    ssh, *rest = Host("orin", config=settings).command(["true"])
    shown = subprocess.run([ssh, "-G", *rest], capture_output=True, text=True, check=True).stdout
    assert {
        "preferredauthentications publickey",
        "hostbasedauthentication no",
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "batchmode yes",
    } <= set(shown.splitlines())


class Flaky:
    """Loses the connection so many times, then answers; ``held``: so many of them come late."""

    def __init__(self, losses, held=0):
        self.losses, self.held = losses, held

    def __call__(self):
        if self.losses:
            self.losses -= 1
            self.held -= 1
            raise ConnectionLostError("gone", answered=self.held >= 0)
        return "done"


def test_retries_wait_longer_each_time():
    slept, said = [], []
    settings = {"say": said.append, "sleep": slept.append}
    assert with_retries(Flaky(2), (1.0, 2.0, 4.0), **settings) == "done"
    assert slept == [1.0, 2.0]
    assert said == ["gone; trying again in 1 s", "gone; trying again in 2 s"]


def test_retries_end():
    slept = []
    with pytest.raises(UserError, match="gone; gave up"):
        with_retries(Flaky(3), (1.0, 2.0), say=lambda _: None, sleep=slept.append)
    assert slept == [1.0, 2.0]


def test_each_connection_that_held_gives_all_retries_anew():
    slept = []
    settings = {"say": lambda _: None, "sleep": slept.append}
    assert with_retries(Flaky(5, held=5), (1.0, 2.0), **settings) == "done"
    assert slept == [1.0] * 5
    slept.clear()
    with pytest.raises(UserError, match="gone; gave up"):
        with_retries(Flaky(6, held=3), (1.0, 2.0), **settings)
    assert slept == [1.0, 1.0, 1.0, 2.0]
    with pytest.raises(UserError, match="gone; gave up"):
        with_retries(Flaky(1, held=1), (), **settings)
