"""An sshd, where there is one."""

from loopback_ssh import vehicle

__all__ = ["vehicle"]
