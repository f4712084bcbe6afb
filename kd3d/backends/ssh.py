"""Asks the far end of an SSH connection, by OpenSSH's own program.

Keys or an agent only, never a password; only a host whose key is known; nothing reaches the remote
shell unquoted. See ``kd3d.backends.vehicle_side`` for what is asked.
"""

import base64
import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kd3d.backends import vehicle_side
from kd3d.errors import UserError

Answer = Mapping[str, Any]  # Any: JSON
Say = Callable[[str], object]

OPTIONS = (
    "BatchMode=yes",  # no question, so no password and no unknown host
    "StrictHostKeyChecking=yes",
    "PreferredAuthentications=publickey",  # alone: no GSSAPI, no host-based, no password
    "HostbasedAuthentication=no",
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ConnectTimeout=10",
    "ServerAliveInterval=5",  # a dead connection is noticed after 15 s
    "ServerAliveCountMax=3",
)
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0)
_LOST = 255  # ssh's own exit code: the connection, not the program
_ANSWER_S = 120.0
_PATIENCE_S = 10.0  # for a request under way when the user interrupts


class ConnectionLostError(Exception):
    """The connection ended, or none came about; another attempt may do better.

    Attributes:
        answered: whether the far end had answered in this attempt (or more had arrived there
            than before it), so that the next loss is another one.
    """

    def __init__(self, text: str, *, answered: bool = False) -> None:
        super().__init__(text)
        self.answered = answered


@dataclass(frozen=True)
class Host:
    """A machine that OpenSSH reaches.

    Attributes:
        address: as ssh takes it: a name of its configuration, host, or user@host.
        port: None for 22 or what the configuration says.
        identity: private key; None for the agent's, or the default ones.
        config: file of settings instead of ~/.ssh/config.
        python: the remote Python, 3.8 or later.
        pauses_s: before each attempt to connect again.
    """

    address: str
    port: int | None = None
    identity: Path | None = None
    config: Path | None = None
    python: str = "python3"
    pauses_s: Sequence[float] = PAUSES_S

    @property
    def name(self) -> str:
        """The address without the user, for the names of files: "/" is "%2F", as in a URL."""
        return quote(self.address.rpartition("@")[2], safe="")

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The local command that runs ``arguments`` there, each quoted for the remote shell.

        Raises:
            UserError: if there is no ssh, or the address would be an option to it.
        """
        if shutil.which("ssh") is None:
            raise UserError("there is no ssh on this machine; install OpenSSH's client")
        if not self.address or self.address.startswith("-") or not self.address.isprintable():
            raise UserError(f"host {self.address!r}: expected host or user@host")
        command = ["ssh", "-T", *(f"-o{option}" for option in OPTIONS)]
        if self.config is not None:
            command += ["-F", str(self.config)]
        if self.port is not None:
            command += ["-p", str(self.port)]
        if self.identity is not None:
            command += ["-i", str(self.identity), "-oIdentitiesOnly=yes"]
        return [*command, "--", self.address, " ".join(map(shlex.quote, arguments))]

    def side(self) -> list[str]:
        """The local command whose standard input takes a request."""
        # base64: some login shells end a quoted text at a new line
        source = base64.b64encode(Path(vehicle_side.__file__).read_bytes()).decode()
        return self.command(
            [self.python, "-c", f"import base64;exec(base64.b64decode('{source}'))"]
        )


def ask(host: Host, verb: str, **request: Any) -> Answer:  # Any: JSON
    """The one answer to a request.

    An interrupt while it is under way is held back until it is answered or 10 s are over, so that
    nothing is started that nobody knows of.

    Raises:
        ConnectionLostError: if the connection ended before that.
        UserError: if no connection can come about, or the far end refuses.
    """
    line = request_line(verb, **request)
    with _process(host.side()) as process:
        try:
            output, errors = process.communicate(line, timeout=_ANSWER_S)
        except subprocess.TimeoutExpired:
            raise ConnectionLostError(f"{host.address} did not answer") from None
        except KeyboardInterrupt:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE_S)
            raise
    check_end(host, process.returncode, errors)
    answers = [found for found in map(parse_answer, output.splitlines()) if found is not None]
    if not answers:
        raise ConnectionLostError(f"{host.address} ended without an answer")
    return answers[-1]


@contextmanager
def converse(host: Host, verb: str, **request: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A process with pipes that has been sent a request; ended by force if the block fails.

    Afterwards the end is checked.

    Raises:
        ConnectionLostError, UserError: as ``ask``.
    """
    with _process(host.side()) as process:
        assert process.stdin is not None, "it was made with pipes"
        try:
            process.stdin.write(request_line(verb, **request))
            process.stdin.flush()
            yield process
            with suppress(BrokenPipeError):
                process.stdin.close()
        except BrokenPipeError:
            pass  # why it ended is told below
        errors = process.stderr.read() if process.stderr is not None else b""
        try:
            process.wait(_ANSWER_S)
        except subprocess.TimeoutExpired:
            raise ConnectionLostError(f"{host.address} did not answer") from None
    check_end(host, process.returncode, errors)


def request_line(verb: str, **request: Any) -> bytes:  # Any: JSON
    """What the far end reads first."""
    return json.dumps({"verb": verb, **request}).encode() + b"\n"


def parse_answer(line: bytes) -> Answer | None:
    """What a line of output answers; None if it is not ours (the login shell's), or not whole.

    A connection that is lost ends in the middle of a line.
    """
    text = line.decode(errors="replace")
    if not text.startswith(vehicle_side.MARK):
        return None
    try:
        found: Answer = json.loads(text[len(vehicle_side.MARK) :])
    except ValueError:
        return None
    return found


def check_end(host: Host, code: int, errors: bytes) -> None:
    """Raises what the exit code and the errors of ssh mean; nothing if all went well."""
    if code == 0:
        return
    text = errors.decode(errors="replace").strip()
    where = host.address + (f", port {host.port}" if host.port else "")
    if code == vehicle_side.TRY_AGAIN:
        raise ConnectionLostError(f"{where}: {_last_line(text)}")
    if code != _LOST:
        if code in (126, 127):  # a shell's codes for "cannot be run" and "not found"
            raise UserError(f"{where}: no '{host.python}' there; name one with --remote-python")
        raise UserError(f"{where}: {last_error(text) or f'ended with exit code {code}'}")
    own = _without_closing(text)
    for words, advice in _ADVICE.items():
        if re.search(rf"(?mi:{words})\Z", own):
            raise UserError(f"{where}: {advice.format(host=host.address, text=_last_line(own))}")
    raise ConnectionLostError(f"{where}: {_last_line(text) or 'the connection ended'}")


def last_error(text: str) -> str:
    """What a program of kd3d ended with, all lines of it; the last line of any other."""
    _, found, error = f"\n{text.strip()}".rpartition("\nerror: ")
    return error if found else _last_line(text.strip())


def with_retries(
    action: Callable[[], Any],  # Any: whatever the action answers
    pauses_s: Sequence[float],
    *,
    say: Say,
    sleep: Callable[[float], object] = time.sleep,
) -> Any:
    """Calls ``action`` again after each of ``pauses_s`` while it loses the connection.

    Once it was answered, the pauses begin anew: a long action may lose the connection any number of
    times.

    Raises:
        UserError: when all attempts are used up.
    """
    left = list(pauses_s)
    while True:
        lost, answer = _attempt(action)
        if lost is None:
            return answer
        if lost.answered:
            left = list(pauses_s)
        if not left:
            raise UserError(
                f"{lost}; gave up. Run the same command again: what has been copied is not "
                "copied again"
            )
        say(f"{lost}; trying again in {left[0]:g} s")
        sleep(left.pop(0))


def _attempt(action: Callable[[], Any]) -> tuple[ConnectionLostError | None, Any]:
    """What lost the connection, or None; what the action answered."""
    try:
        return None, action()
    except ConnectionLostError as error:
        return error, None


# What ssh writes last -> what to do; the first that fits. Before it may stand anything: what login
# shell and program there wrote until the connection was lost, also words like these.
_ADVICE = {
    r"REMOTE HOST IDENTIFICATION HAS CHANGED(?s:.*)^Host key verification failed\.": (
        "its host key is not the one in known_hosts: either it was set up anew, or another machine "
        "answers. Compare the fingerprint (on the vehicle: ssh-keygen -lf "
        "/etc/ssh/ssh_host_ed25519_key.pub); then ssh-keygen -R HOST and ssh {host}"
    ),
    r"^Host key verification failed\.": (
        "its host key is not known. Run 'ssh {host}' once, compare the fingerprint with the "
        "vehicle's (there: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) and accept it"
    ),
    r"^.+@.+: Permission denied \(.*\)\.": (
        "it accepts none of your keys ({text}). Only keys and the agent are used: name a key with "
        "--identity, add it to the agent with ssh-add, or bring it there with ssh-copy-id"
    ),
    r"^ssh: Could not resolve hostname .*": (
        "no such host; expected user@host, or a name of ~/.ssh/config"
    ),
    r"^.*: Bad configuration option: .*": "ssh's configuration is wrong: {text}",
    r"^Can't open user config file .*": "{text}",
}
# What ssh adds to a reason: of a host on the way (ProxyJump), or of its configuration.
_CLOSING = re.compile(
    r"(kex|ssh)_exchange_identification: .*|Connection closed by UNKNOWN port .*"
    r"|.*: terminating, \d+ bad configuration options"
)


@contextmanager
def _process(command: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A child with pipes, of its own session: Ctrl-C reaches us alone, and we end it."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()  # nothing to a child that has ended
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def _without_closing(text: str) -> str:
    """The text up to the reason, which is its last line."""
    lines = [line.strip() for line in text.splitlines()]
    while lines and _CLOSING.fullmatch(lines[-1]):
        lines.pop()
    return "\n".join(lines)


def _last_line(text: str) -> str:
    return text.rpartition("\n")[2].strip()
