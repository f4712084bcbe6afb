"""The files of a world: whole, the same for any number of workers, and what the devkit reads."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from nuscenes.utils.splits import create_splits_scenes

from kd3d.datasets.synthetic.nuscenes.dataset import World, make_world
from kd3d.errors import UserError

TOOL = Path(__file__).parents[4] / "tools/datasets/make_synthetic_nuscenes.py"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def table(root: Path, name: str):
    return json.loads((root / "v1.0-trainval" / f"{name}.json").read_text())


def test_two_workers_write_the_same_files(small, small_root, tmp_path):
    assert make_world(tmp_path / "again", small, workers=2)
    assert contents(tmp_path / "again") == contents(small_root)


def test_other_seed_other_files(small, small_root, tmp_path):
    world = replace(small, scenes=1, val_scenes=0, test_scenes=0, keyframes=1, seed=6)
    make_world(tmp_path / "other", world)
    ours, theirs = (
        next((root / "samples/LIDAR_TOP").glob("*0001*")).read_bytes()
        for root in (small_root, tmp_path / "other")
    )
    assert ours != theirs


def test_files_and_splits(small_root):
    names = [row["name"] for row in table(small_root, "scene")]
    assert names == ["scene-0001", "scene-0002", "scene-0003", "scene-0012", "scene-0077"]
    assert json.loads((small_root / "v1.0-trainval/splits.json").read_text()) == {
        "synthetic_train": names[:2],
        "synthetic_val": names[2:4],
        "synthetic_test": names[4:],
    }
    data = table(small_root, "sample_data")
    assert len(data) == 5 * 4 * 2  # one turn before each keyframe
    assert sum(row["is_key_frame"] for row in data) == 20
    for row in data:
        points = np.fromfile(small_root / row["filename"], np.float32).reshape(-1, 5)
        assert 15000 < len(points) < 34688
        assert np.linalg.norm(points[:, :3], axis=1).min() > 1  # none on the vehicle itself
        assert set(np.unique(points[:, 4])) <= set(range(32))
    assert "synthetic" in (small_root / "README.txt").read_text()
    assert {row["vehicle"] for row in table(small_root, "log")} == {"synthetic"}
    assert all("ynthetic" in row["description"] for row in table(small_root, "scene"))


def test_each_split_has_names_of_its_official_one():
    official = create_splits_scenes()
    whole = World(scenes=700, val_scenes=150, test_scenes=150)
    whole.check()
    for split, names in whole.splits().items():
        assert set(names) == set(official[split])


def test_sweeps_are_linked_in_time(small_root):
    data = table(small_root, "sample_data")
    rows = {row["token"]: row for row in data}
    firsts = [row for row in data if not row["prev"]]
    assert len(firsts) == 5
    row, stamps = firsts[0], []
    while True:
        stamps.append(row["timestamp"])
        if not row["next"]:
            break
        assert rows[row["next"]]["prev"] == row["token"]
        row = rows[row["next"]]
    assert np.diff(stamps).tolist() == [50_000, 450_000] * 3 + [50_000]


def test_same_world_is_not_made_again(small, small_root, monkeypatch):
    monkeypatch.setattr("kd3d.datasets.synthetic.nuscenes.dataset.record_scene", None)
    assert not make_world(small_root, small)


@pytest.fixture
def earlier(small, tmp_path):
    """A set of version 3, as it told what it was; and the world that it was asked for."""
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "set.json").write_text(json.dumps(asdict(replace(small, version=3))))
    return tmp_path / "w", small


def test_a_world_with_test_scenes_in_val_is_used_with_a_warning(earlier):
    root, world = earlier
    with pytest.warns(UserWarning, match=f"val has the test .* --out {root} .* --force; points"):
        assert not make_world(root, world)
    with pytest.raises(UserError, match=f"{root} holds"):
        make_world(root, replace(world, seed=1))


@pytest.mark.filterwarnings("error")
def test_a_world_with_test_scenes_in_val_can_be_made_anew(earlier):
    root, world = earlier
    one = replace(world, scenes=0, val_scenes=0, keyframes=1, sweeps=0)
    (root / "set.json").write_text(json.dumps(asdict(replace(one, version=3))))
    assert make_world(root, one, overwrite=True)
    assert [row["name"] for row in table(root, "scene")] == ["scene-0077"]


@pytest.mark.filterwarnings("error")
def test_an_earlier_world_without_test_scenes_is_the_same(earlier):
    root, world = earlier
    world = replace(world, test_scenes=0)
    (root / "set.json").write_text(json.dumps(asdict(replace(world, version=3))))
    assert not make_world(root, world)


def test_other_world_is_not_overwritten(small, small_root):
    before = contents(small_root)
    whole = (
        rf"^{small_root} holds another set: seed {small.seed} \(asked for 1\); delete the folder "
        f".* --out {small_root} --scenes 2 --val-scenes 2 .*--seed 1.* --force"
    )
    with pytest.raises(UserError, match=whole):
        make_world(small_root, replace(small, seed=1))
    assert contents(small_root) == before


def test_force_replaces_a_world_only(tmp_path):
    tiny = World(scenes=1, val_scenes=0, keyframes=1)
    make_world(tmp_path / "w", tiny)
    assert make_world(tmp_path / "w", replace(tiny, domain="night"), overwrite=True)
    assert table(tmp_path / "w", "scene")[0]["description"].count("night") == 1
    strange = tmp_path / "photos"
    strange.mkdir()
    (strange / "holiday.jpg").write_bytes(b"")
    for overwrite in (False, True):  # no advice that would be refused next
        with pytest.raises(UserError, match=r"missing\): not replaced; choose another --out$"):
            make_world(strange, tiny, overwrite=overwrite)
    (strange / "set.json").write_text('{"train": 400, "version": 2}')  # of traffic scenes
    with pytest.raises(UserError, match=r"set\.json is of another\): not replaced"):
        make_world(strange, tiny, overwrite=True)
    (strange / "set.json").write_text("[")
    with pytest.raises(UserError, match=r"another set: its set\.json cannot be read; delete"):
        make_world(strange, tiny)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", "w"]


def test_interrupted_replacement_leaves_the_old_set_whole(tmp_path, monkeypatch):
    tiny = World(scenes=1, val_scenes=0, keyframes=1)
    make_world(tmp_path / "w", tiny)
    before = contents(tmp_path / "w")
    rename = Path.rename

    def interrupted(path, target):
        if path.name == "new":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_world(tmp_path / "w", replace(tiny, seed=1), overwrite=True)
    assert contents(tmp_path / "w") == before
    assert [p.name for p in tmp_path.iterdir()] == ["w"]


def test_failure_leaves_nothing(tmp_path, monkeypatch):
    def fail(recording, folder):
        raise OSError("disk full")

    monkeypatch.setattr("kd3d.datasets.synthetic.nuscenes.dataset.record_scene", fail)
    with pytest.raises(OSError, match="disk full"):
        make_world(tmp_path / "w", World(scenes=1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_interrupt_leaves_nothing(tmp_path, number, times):
    command = [sys.executable, str(TOOL), "--out", str(tmp_path / "w"), "--scenes", "300"]
    process = subprocess.Popen(
        [*command, "--workers", "2"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not list(tmp_path.glob(".w.*/new/samples/LIDAR_TOP/*")):
        assert process.poll() is None
        time.sleep(0.1)
    for _ in range(times):  # a terminal sends the one, run_recipe.py twice the other
        os.killpg(process.pid, number)
        time.sleep(0.01)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scenes": 701}, "between 0 and 700"),
        ({"val_scenes": 151}, "--val-scenes between 0 and 150"),
        ({"test_scenes": 151}, "--test-scenes between 0 and 150"),
        ({"val_scenes": 1, "test_scenes": -1}, "--test-scenes between 0 and 150"),
        ({"keyframes": 0}, "at least one"),
        ({"sweeps": 10}, "between 0 and 9"),
        ({"seed": -1}, "--seed of 0 or more, got -1"),
    ],
)
def test_impossible_worlds(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        make_world(tmp_path / "w", replace(World(), **change))


def test_tool_makes_once_and_refuses_another(run_tool, tmp_path):
    arguments = ("make_synthetic_nuscenes.py", "--out", tmp_path / "w", "--val-scenes", "0")
    few = ("--scenes", "1", "--keyframes", "2", "--workers", "1")
    name = f"datasets/{arguments[0]}"
    code, bar = run_tool(name, *arguments[1:], *few)
    assert code == 0
    assert "2/2 keyframes" in bar
    # nothing by the clock: there is a rate, and what it was measured with
    rate = r"\d+\.\d keyframes/s in \d+\.\d s"
    flags = "--workers 1 --scenes 1 --val-scenes 0 --keyframes 2"
    assert re.search(rf", {rate} \({flags}\)\n$", bar)
    assert run_tool(name, *arguments[1:], *few) == (0, "")
    code, errors = run_tool(name, *arguments[1:], *few, "--seed", "1")
    assert code != 0
    assert "--force" in errors
