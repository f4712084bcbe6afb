import dataclasses
import json

import numpy as np
import nuscenes_tables
import pytest

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes import GroundTruth, cache, load_ground_truth

VERSION = "v1.0-mini"


@pytest.fixture
def dataroot(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return nuscenes_tables.random_data_set(2).write(tmp_path / "nuscenes")


@pytest.fixture
def parsed(monkeypatch):
    """How often the tables were parsed."""
    calls = []
    original = cache.ground_truth_from_tables

    def counting(*arguments):
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(cache, "ground_truth_from_tables", counting)
    return calls


def cached_files(folder) -> list:
    return sorted(folder.rglob("*.npz"))


def equal(left: GroundTruth, right: GroundTruth) -> bool:
    for name in ("ego_m", "rack_frame", "rack_m"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    for field in dataclasses.fields(left.boxes):
        mine, other = getattr(left.boxes, field.name), getattr(right.boxes, field.name)
        np.testing.assert_array_equal(mine, other)
        assert mine.dtype == other.dtype
    return left.tokens == right.tokens


def test_the_second_time_comes_from_the_file(dataroot, parsed):
    first = load_ground_truth(dataroot, VERSION, "mini_val")
    assert equal(load_ground_truth(dataroot, VERSION, "mini_val"), first)
    assert len(parsed) == 1
    assert len(cached_files(dataroot / ".kd3d")) == 1
    assert not list(dataroot.rglob("*.part"))
    assert len(first.rack_frame) > 0


def test_each_split_has_its_file_and_a_changed_split_a_new_one(dataroot, parsed):
    load_ground_truth(dataroot, VERSION, "mini_val")
    before = load_ground_truth(dataroot, VERSION, "our_val")
    (dataroot / VERSION / "splits.json").write_text(json.dumps({"our_val": ["scene-0061"]}))
    after = load_ground_truth(dataroot, VERSION, "our_val")
    assert (len(before.tokens), len(after.tokens)) == (8, 4)
    assert len(parsed) == 3


def test_one_changed_digit_of_a_pose_is_seen(dataroot, parsed):
    before = load_ground_truth(dataroot, VERSION, "mini_val")
    path = dataroot / VERSION / "ego_pose.json"
    poses = json.loads(path.read_text())
    row = next(row for row in poses if row["token"] == f"pose-{before.tokens[0]}-lidar-True")
    row["translation"][1] = float(str(row["translation"][1])[:-1] + "7")
    path.write_text(json.dumps(poses, indent=0))
    after = load_ground_truth(dataroot, VERSION, "mini_val")
    assert after.ego_m[0, 1] == row["translation"][1]
    assert len(parsed) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "entry"])
def test_a_damaged_file_is_made_anew(damage, dataroot, parsed):
    first = load_ground_truth(dataroot, VERSION, "mini_val")
    (path,) = cached_files(dataroot)
    whole = path.read_bytes()
    if damage == "entry":
        np.savez(path, tokens=np.array(["a"]))
    else:
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"no"}[damage])
    assert equal(load_ground_truth(dataroot, VERSION, "mini_val"), first)
    assert len(parsed) == 2
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_leaves_it_to_the_users_cache(dataroot, tmp_path, parsed):
    (dataroot / ".kd3d").write_text("a file where the folder would be")
    for _ in range(2):
        load_ground_truth(dataroot, VERSION, "mini_val")
    assert len(parsed) == 1
    assert len(cached_files(tmp_path / "user" / "kd3d")) == 1
    # nowhere to write: it still answers
    (tmp_path / "user").rename(tmp_path / "gone")
    (tmp_path / "user").write_text("")
    load_ground_truth(dataroot, VERSION, "mini_val")
    assert len(parsed) == 2


def test_a_split_without_annotations_is_refused(dataroot):
    (dataroot / VERSION / "sample_annotation.json").write_text("[]")
    with pytest.raises(UserError, match="split mini_val has no annotations"):
        load_ground_truth(dataroot, VERSION, "mini_val")
    assert not cached_files(dataroot)
