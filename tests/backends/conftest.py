"""An sshd, where there is one."""

import pytest
from loopback_ssh import Vehicle, why_not


@pytest.fixture
def vehicle(tmp_path):
    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = tmp_path / "vehicle"
    folder.mkdir()
    with Vehicle(folder) as running:
        yield running
