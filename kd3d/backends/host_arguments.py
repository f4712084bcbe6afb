"""A vehicle on the command line: one group of arguments for every tool that reaches one."""

import argparse
from pathlib import Path

from kd3d.backends.ssh import Host
from kd3d.errors import UserError

_LAST_PORT = 65535


def add_host_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --host and how OpenSSH reaches it; ``host_from_args`` reads them."""
    add = parser.add_argument_group("on a vehicle, over OpenSSH with a key or the agent")
    add.add_argument("--host", help="[user@]host, or a name of ~/.ssh/config")
    add.add_argument("--port", type=int, help="default: 22, or what ~/.ssh/config says")
    add.add_argument("--identity", type=Path, help="private key; default: agent, usual keys")
    add.add_argument("--ssh-config", type=Path, help="instead of ~/.ssh/config")
    add.add_argument("--remote-python", help="3.8 or later, with the backend; default: python3")


def host_from_args(args: argparse.Namespace) -> Host | None:
    """The vehicle that the arguments name; None without --host.

    Raises:
        UserError: if the others stand without --host, there is no such file, or no such port.
    """
    others = {
        "--port": args.port,
        "--identity": args.identity,
        "--ssh-config": args.ssh_config,
        "--remote-python": args.remote_python,
    }
    given = [name for name, value in others.items() if value is not None]
    if args.host is None:
        if given:
            raise UserError(f"{given[0]} is of a vehicle; name it with --host user@host")
        return None
    if args.port is not None and not 0 < args.port <= _LAST_PORT:
        raise UserError(f"--port {args.port}: expected 1 to {_LAST_PORT}")
    for name in ("--identity", "--ssh-config"):  # ssh itself goes on without a key that is absent
        if others[name] is not None and not others[name].exists():
            raise UserError(f"{name} {others[name]}: there is no such file")
    python = {} if args.remote_python is None else {"python": args.remote_python}
    return Host(args.host, args.port, args.identity, args.ssh_config, **python)
