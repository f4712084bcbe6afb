import subprocess
import sys

import install_test_programs
import pytest


@pytest.fixture
def calls(monkeypatch):
    """A machine with apt-get that lacks both; the commands that were run there."""
    found = []

    def run(command, **settings):
        found.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(sys, "argv", ["install_test_programs.py"])
    monkeypatch.setattr(install_test_programs.shutil, "which", lambda name, path=None: name)
    monkeypatch.setattr(install_test_programs, "has_sshd", lambda: False)
    monkeypatch.setattr(install_test_programs, "find_python38", lambda: None)
    monkeypatch.setattr(install_test_programs.os, "geteuid", lambda: 0)
    monkeypatch.setattr(install_test_programs.subprocess, "run", run)
    return found


def fail(kind):
    def run(command, **settings):
        if isinstance(kind, Exception):
            raise kind
        return subprocess.CompletedProcess(command, 100, "", kind)

    return run


def test_what_is_missing_is_installed(calls, capsys):
    assert install_test_programs.main() == 0
    assert [command[4:] for command in calls] == [
        ["openssh-server", "openssh-client"],
        ["python3.8", "python3.8-venv"],
    ]
    assert capsys.readouterr().out.count("installed ") == 2


def test_what_is_there_is_left_alone(calls, monkeypatch):
    monkeypatch.setattr(install_test_programs, "has_sshd", lambda: True)
    monkeypatch.setattr(install_test_programs, "find_python38", lambda: "/usr/bin/python3.8")
    assert install_test_programs.main() == 0
    assert calls == []


def test_another_user_than_root_asks_sudo_which_asks_nothing(calls, monkeypatch):
    monkeypatch.setattr(install_test_programs.os, "geteuid", lambda: 1000)
    install_test_programs.main()
    assert [command[:3] for command in calls] == [["sudo", "-n", "sh"]] * 2


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (
            "W: old\nE: Unable to locate package x\nE: nor by regex\n",
            "E: Unable to locate package x",
        ),
        ("sudo: a password is required\n", "sudo: a password is required"),
        ("", "exit code 100"),
        (FileNotFoundError(), "that needs root, and there is no sudo"),
        (subprocess.TimeoutExpired("sh", 300), "apt-get took longer than 300 s"),
    ],
)
def test_what_cannot_be_installed_is_said_and_no_failure(calls, capsys, monkeypatch, kind, reason):
    monkeypatch.setattr(install_test_programs.subprocess, "run", fail(kind))
    assert install_test_programs.main() == 0
    assert capsys.readouterr().out == (
        f"skipped: the tests over ssh: openssh-server cannot be installed: {reason}\n"
        "skipped: the test of the vehicle's code on Python 3.8: python3.8 cannot be installed: "
        f"{reason}\n"
    )


def test_a_machine_without_apt_says_so(calls, capsys, monkeypatch):
    monkeypatch.setattr(install_test_programs.shutil, "which", lambda name, path=None: None)
    assert install_test_programs.main() == 0
    assert calls == []
    assert capsys.readouterr().out.count("there is no apt-get here") == 2


def test_an_sshd_beside_the_path_counts(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(install_test_programs, "SBIN", str(tmp_path))
    for name in ("ssh", "ssh-keygen", "sshd"):
        assert not install_test_programs.has_sshd()
        (tmp_path / name).touch(mode=0o755)
    assert install_test_programs.has_sshd()
