"""The far end by itself: what it keeps, and what it sweeps away, whatever the clock says."""

import hashlib
import json
import os
import subprocess
import sys
import time
from contextlib import closing

import pytest

from kd3d.backends import vehicle_side
from kd3d.backends.vehicle_side import BLOCK, MARK, TRY_AGAIN

CONTENT = bytes(range(256)) * (5 * BLOCK // 256)  # a block is written once it is whole
SHA = hashlib.sha256(CONTENT).hexdigest()
DAY_S = 24 * 3600.0


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "kd3d/files").mkdir(parents=True)
    return tmp_path / "kd3d"


class Sender:
    """A connection that puts CONTENT, as much at a time as it is told to."""

    def __init__(self, *, offset=0, content=CONTENT):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, vehicle_side.__file__], stdin=pipe, stdout=pipe, stderr=pipe
        )
        self.content, self.sent = content, offset
        entry = {"sha": SHA, "offset": offset, "size": len(content)}
        self._write(b'{"verb": "put"}\n' + json.dumps(entry).encode() + b"\n")

    def send(self, until):
        """Waits until it has arrived, too."""
        self._write(self.content[self.sent : until])
        self.sent = until

    def end(self):
        """Exit code, answers, errors."""
        out, errors = self.process.communicate(timeout=30)
        answers = [json.loads(line[len(MARK) :]) for line in out.decode().splitlines()]
        return self.process.returncode, answers, errors.decode()

    def close(self):
        self.process.kill()
        self.process.communicate()

    def _write(self, content):
        self.process.stdin.write(content)
        self.process.stdin.flush()


STORED = (0, [{"stored": SHA}], "")


def arrived(cache):
    """Sizes of the parts that are not empty, the largest first."""
    sizes = [path.stat().st_size for path in cache.glob("files/*.part")]
    return sorted(filter(None, sizes), reverse=True)


def wait_for(condition):
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def is_whole(cache):
    """Whether the content is there, complete, and nothing else."""
    found = {path.name: path.read_bytes() for path in cache.glob("files/*")}
    return found == {SHA: CONTENT}


def asked(capsys):
    vehicle_side.missing({"files": [SHA]})
    return json.loads(capsys.readouterr().out[len(MARK) :])["missing"]


@pytest.mark.parametrize("first", [0, 1])
def test_two_senders_of_one_file_at_the_same_moment(cache, first):
    with closing(Sender()) as one, closing(Sender()) as two:
        for sender, size in ((one, BLOCK), (two, BLOCK), (one, 3 * BLOCK), (two, 2 * BLOCK)):
            sender.send(size)
        wait_for(lambda: arrived(cache) == [3 * BLOCK, 2 * BLOCK])
        order = [one, two] if first == 0 else [two, one]
        for sender in order:
            sender.send(len(CONTENT))
            assert sender.end() == STORED
            assert (cache / "files" / SHA).read_bytes() == CONTENT
    assert is_whole(cache)


def test_a_second_sender_goes_on_from_what_a_living_one_has_brought(cache, capsys):
    with closing(Sender()) as one:
        one.send(BLOCK)
        wait_for(lambda: arrived(cache) == [BLOCK])
        assert asked(capsys) == {SHA: BLOCK}
        with closing(Sender(offset=BLOCK)) as two:
            two.send(len(CONTENT))
            assert two.end() == STORED
        one.send(len(CONTENT))
        assert one.end() == STORED
    assert is_whole(cache)


def test_a_lost_sender_leaves_what_it_has_brought(cache, capsys):
    with closing(Sender()) as lost:
        lost.send(BLOCK)
        code, answers, errors = lost.end()
        assert (code, answers) == (1, [])
        assert "the connection ended within a file" in errors
    assert asked(capsys) == {SHA: BLOCK}
    with closing(Sender(offset=BLOCK)) as second:
        second.send(3 * BLOCK)
        assert second.end()[0] == 1
    assert arrived(cache) == [3 * BLOCK]  # the first one's is in no use any more
    with closing(Sender(offset=3 * BLOCK)) as third:
        third.send(len(CONTENT))
        assert third.end() == STORED
    assert is_whole(cache)


def test_a_sender_that_loses_after_another_has_finished_leaves_nothing(cache):
    with closing(Sender()) as slow, closing(Sender()) as fast:
        slow.send(BLOCK)
        wait_for(lambda: arrived(cache) == [BLOCK])
        fast.send(len(CONTENT))
        assert fast.end() == STORED
        assert slow.end()[0] == 1
    assert is_whole(cache)


def test_a_sender_of_something_else_damages_only_itself(cache, capsys):
    """The file of one has changed since it was hashed; the other took its beginning over."""
    wrong = bytes(len(CONTENT))
    with closing(Sender(content=wrong)) as bad:
        bad.send(BLOCK)
        wait_for(lambda: arrived(cache) == [BLOCK])
        with closing(Sender(offset=BLOCK)) as misled:
            misled.send(len(CONTENT))
            code, answers, errors = misled.end()
            assert (code, answers) == (TRY_AGAIN, [])
            assert errors == "what arrived is not the file\n"
        with closing(Sender()) as good:
            good.send(len(CONTENT))
            assert good.end() == STORED
        bad.send(len(wrong))
        code, _, errors = bad.end()
        assert (code, errors) == (1, "what arrived is not the file: SHA-256 differs\n")
    assert is_whole(cache)
    assert asked(capsys) == {}


def test_a_beginning_that_is_gone_is_asked_for_anew(cache):
    with closing(Sender(offset=10)) as sender:
        code, _, errors = sender.end()
    assert (code, errors) == (TRY_AGAIN, "what had arrived of a file is gone\n")
    assert list(cache.glob("files/*")) == []


def test_an_ended_upload_of_nothing_leaves_nothing(cache):
    with closing(Sender()) as sender:
        assert sender.end()[0] == 1
    assert list(cache.glob("files/*")) == []


def attend(cache, run, source):
    """A connection that becomes ``python -c source`` in the folder of a run."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, vehicle_side.__file__], stdin=pipe, stdout=pipe, stderr=pipe
    )
    request = {"verb": "attend", "run": run, "files": {}, "arguments": ["-c", source]}
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    return process


def test_a_run_on_its_connection_is_known_and_gives_way_to_the_next(cache):
    """The connection of the first is lost, and its end has not noticed."""
    say = "import sys; print('here', flush=True); sys.stdin.read()"
    with attend(cache, "run", say) as first:
        assert first.stdout.readline() == b"here\n"
        assert vehicle_side.process_of(cache / "runs/run") == first.pid
        with attend(cache, "run", say) as second:
            assert second.stdout.readline() == b"here\n"
            assert first.wait(timeout=10) < 0
            assert vehicle_side.process_of(cache / "runs/run") == second.pid
            vehicle_side.stop(cache / "runs/run")
            assert second.wait(timeout=10) < 0


class Machine:
    """What the far end takes for the machine's start, the time since then, and the clock."""

    def __init__(self, monkeypatch):
        self.start, self.on_s = "first", 100.0
        monkeypatch.setattr(vehicle_side, "since_start", lambda: f"{self.start} {self.on_s}")

    def restart(self):
        self.start, self.on_s = "second", 0.0


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


def set_back(folder, years):
    """As if the clock had been wrong when the folder was made, and has jumped since."""
    then = time.time() - years * 365 * DAY_S
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (then, then))


@pytest.mark.parametrize("years", [56, -30])
def test_a_jump_of_the_clock_sweeps_nothing_fresh(cache, machine, years):
    fresh = vehicle_side.unpack("fresh", {})
    set_back(fresh, years)
    machine.on_s += 60.0
    vehicle_side.unpack("other", {})
    assert fresh.is_dir()


def test_a_run_is_stale_after_a_day_without_a_process(cache, machine):
    old = vehicle_side.unpack("old", {})
    machine.on_s += DAY_S
    vehicle_side.sweep()
    assert old.is_dir()
    machine.on_s += 1.0
    vehicle_side.sweep()
    assert not old.exists()


def test_a_run_that_goes_on_is_never_swept(cache, machine):
    run = vehicle_side.unpack("run", {})
    pid = os.getpid()
    (run / "process").write_text(f"{pid} {vehicle_side.started_at(pid)}")
    set_back(run, 56)
    machine.on_s += 30 * DAY_S
    vehicle_side.sweep()
    assert run.is_dir()


def test_what_an_earlier_start_left_is_swept_an_hour_after(cache, machine):
    old = vehicle_side.unpack("old", {})
    machine.restart()
    machine.on_s = 3600.0
    vehicle_side.sweep()
    assert old.is_dir()
    machine.on_s += 1.0
    vehicle_side.sweep()
    assert not old.exists()


def test_a_folder_that_does_not_say_when_it_was_made_is_swept_a_day_later(cache, machine):
    bare = cache / "runs/bare"
    bare.mkdir(parents=True)
    set_back(bare, 56)
    machine.on_s = 2 * DAY_S
    vehicle_side.sweep()
    assert bare.is_dir()
    machine.on_s += DAY_S + 1.0
    vehicle_side.sweep()
    assert not bare.exists()


def test_a_run_is_as_fresh_as_its_last_use(cache, machine):
    vehicle_side.unpack("run", {})
    machine.on_s += DAY_S
    run = vehicle_side.unpack("run", {})
    machine.on_s += 60.0
    vehicle_side.sweep()
    assert run.is_dir()


def test_the_machine_tells_its_start_and_how_long_ago_it_was():
    start, on_s = vehicle_side.since_start().split()
    assert len(start) == 36
    assert float(on_s) == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=2.0)


def test_a_part_is_swept_once_the_file_is_whole_and_nobody_holds_it(cache):
    (cache / "files" / f"{SHA}.a.part").write_bytes(b"x")
    (cache / "files" / f"{'0' * 64}.b.part").write_bytes(b"x")
    vehicle_side.sweep()
    assert len(arrived(cache)) == 2
    (cache / "files" / SHA).write_bytes(CONTENT)
    with (cache / "files" / f"{SHA}.a.part").open("rb") as held:
        vehicle_side.lock(held)
        vehicle_side.sweep()
        assert len(arrived(cache)) == 2
    vehicle_side.sweep()
    assert [path.name for path in cache.glob("files/*.part")] == [f"{'0' * 64}.b.part"]
