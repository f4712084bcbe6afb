import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from loopback_ssh import Wire

from kd3d.backends.ssh import ConnectionLostError, Host
from kd3d.backends.vehicle_cache import send_files
from kd3d.errors import UserError


def noise(path, size):
    """A file that no compression makes smaller."""
    path.write_bytes(np.random.default_rng(size).bytes(size))
    return path


def content_of(vehicle):
    return {path.name: path.read_bytes() for path in (vehicle.cache / "files").iterdir()}


def test_files_lie_under_their_hash_and_equal_ones_once(vehicle, tmp_path):
    one, two = noise(tmp_path / "one", 1000), noise(tmp_path / "two", 70_000)
    counts = []
    sent = send_files(
        vehicle.host(),
        {"a": one, "b/c": two, "again": one},
        say=print,
        progress=lambda *found: counts.append(found),
    )
    expected = {hashlib.sha256(p.read_bytes()).hexdigest(): p.read_bytes() for p in (one, two)}
    assert content_of(vehicle) == expected
    assert sent.hashes["a"] == sent.hashes["again"] == hashlib.sha256(one.read_bytes()).hexdigest()
    assert sent.cache == str(vehicle.cache)
    assert counts[-1] == (71_000, 71_000)


def test_a_cut_within_a_file_is_gone_on_from(vehicle, tmp_path):
    """Cut while 6 MB are sent, when 1 MB has arrived: that is not sent again."""
    big = noise(tmp_path / "big", 6_000_000)
    said, after_cut = [], []
    with Wire(vehicle.port) as wire:

        def cut_once(sent, whole):
            if said:
                after_cut.append(sent)
            if sent > 4_000_000 and not wire.cuts:
                wait_until_arrived(vehicle, 1_000_000)
                wire.cut()

        host = vehicle.host(port=wire.port, pauses_s=(0.1,) * 4)
        send_files(host, {"big": big}, say=said.append, progress=cut_once)
        assert wire.cuts == 1
    assert content_of(vehicle) == {hashlib.sha256(big.read_bytes()).hexdigest(): big.read_bytes()}
    assert len(said) == 1
    assert "trying again in 0.1 s" in said[0]
    assert after_cut[0] >= 1_000_000


def test_each_time_that_more_has_arrived_all_attempts_are_left(vehicle, tmp_path):
    """Two cuts within two files, and a pause for one: before each a megabyte has arrived."""
    files = {str(size): noise(tmp_path / str(size), size) for size in (3_000_000, 3_000_001)}
    said, arrived = [], [0]
    with Wire(vehicle.port) as wire:

        def cut(sent, whole):
            if wire.cuts < 2 and sent > arrived[-1] + 1_500_000:
                wait_until_arrived(vehicle, arrived[-1] + 1_000_000, "files/*")
                wire.cut()
                arrived.append(arrived[-1] + 1_000_000)

        host = vehicle.host(port=wire.port, pauses_s=(0.1,))
        send_files(host, files, say=said.append, progress=cut)
        assert wire.cuts == 2
    assert len(said) == 2
    assert len(content_of(vehicle)) == 2


def test_without_progress_the_attempts_are_used_up(monkeypatch, tmp_path):
    """More has arrived before the third attempt alone: it is followed by two, one a pause."""
    big = noise(tmp_path / "big", 1000)
    there, attempts = iter([0, 0, 400, 300, 400]), []

    def ask(host, verb, *, files):
        return {"python": [3, 8], "cache": "/c", "missing": {files[0]: next(there)}}

    def send(*_):
        attempts.append(1)
        raise ConnectionLostError("gone")

    monkeypatch.setattr("kd3d.backends.vehicle_cache.ask", ask)
    monkeypatch.setattr("kd3d.backends.vehicle_cache._send", send)
    with pytest.raises(UserError, match="gone; gave up"):
        send_files(Host("orin", pauses_s=(0, 0)), {"big": big}, say=print)
    assert len(attempts) == 5


def wait_until_arrived(vehicle, size, pattern="files/*.part"):
    limit = time.monotonic() + 30
    while sum(path.stat().st_size for path in vehicle.cache.glob(pattern)) < size:
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_two_senders_of_one_file_at_the_same_moment(vehicle, tmp_path):
    """Neither is done before the other has begun, and each is told that all is there."""
    big, said = noise(tmp_path / "big", 6_000_000), []
    begun = threading.Barrier(2, timeout=30)

    def send(_):
        waits = iter([begun.wait])

        def both(sent, whole):
            if sent > 1_000_000:
                next(waits, lambda: None)()

        return send_files(vehicle.host(), {"big": big}, say=said.append, progress=both)

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(send, range(2))
    assert one == two
    assert said == []
    assert content_of(vehicle) == {one.hashes["big"]: big.read_bytes()}


def test_what_arrives_damaged_is_not_kept(vehicle, tmp_path, monkeypatch):
    big = noise(tmp_path / "big", 1000)
    wrong = "0" * 64
    monkeypatch.setattr("kd3d.backends.vehicle_cache.sha256_of", lambda path, digits: wrong)
    with pytest.raises(UserError, match="SHA-256 differs"):
        send_files(vehicle.host(), {"big": big}, say=print)
    assert content_of(vehicle) == {}


def test_an_old_python_is_refused(monkeypatch, tmp_path):
    answer = {"python": [3, 6, 9], "cache": "/c", "missing": {}}
    monkeypatch.setattr("kd3d.backends.vehicle_cache.ask", lambda *args, **request: answer)
    with pytest.raises(UserError, match=r"is Python 3\.6\.9; expected 3\.8 or later"):
        send_files(Host("orin"), {}, say=print)
