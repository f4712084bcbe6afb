import json

import numpy as np
import nuscenes_tables
import pytest

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes import CLASSES, load_ground_truth
from kd3d.evaluation.nuscenes.splits import scenes_of_split
from kd3d.evaluation.nuscenes.table_rows import table_rows
from kd3d.evaluation.nuscenes.tables import TABLES, ground_truth_from_tables


@pytest.fixture
def data():
    return nuscenes_tables.random_data_set(1)


@pytest.fixture
def dataroot(data, tmp_path):
    return data.write(tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_boxes_are_those_that_the_devkit_loads(seed, tmp_path):
    data = nuscenes_tables.random_data_set(seed)
    dataroot = data.write(tmp_path)
    from nuscenes import NuScenes
    from nuscenes.eval.common.loaders import load_gt
    from nuscenes.eval.detection.data_classes import DetectionBox

    expected = load_gt(
        NuScenes(data.version, str(dataroot), verbose=False), "mini_val", DetectionBox
    )
    truth = load_ground_truth(dataroot, data.version, "mini_val")
    assert list(truth.tokens) == expected.sample_tokens
    found = expected.all
    assert len(truth.boxes) == len(found) > 30
    assert [truth.tokens[frame] for frame in truth.boxes.frame] == [b.sample_token for b in found]
    assert [CLASSES[label] for label in truth.boxes.label] == [b.detection_name for b in found]
    np.testing.assert_array_equal(truth.boxes.center_m, [b.translation for b in found])
    np.testing.assert_array_equal(truth.boxes.size_m, [b.size for b in found])
    np.testing.assert_array_equal(truth.boxes.rotation, [b.rotation for b in found])
    np.testing.assert_array_equal(truth.boxes.velocity, [b.velocity for b in found])
    assert truth.boxes.points.tolist() == [b.num_pts for b in found]
    assert np.isnan(truth.boxes.velocity).any()  # of objects seen once


def test_the_ego_vehicle_is_where_the_lidar_keyframe_saw_it(data, dataroot):
    truth = load_ground_truth(dataroot, data.version, "mini_val")
    poses = {row["token"]: row["translation"] for row in data.tables["ego_pose"]}
    expected = [poses[f"pose-{token}-lidar-True"] for token in truth.tokens]
    np.testing.assert_array_equal(truth.ego_m, expected)


def test_two_attributes_are_refused(data, tmp_path):
    for row in data.tables["sample_annotation"]:
        row["attribute_tokens"] = [f"a-{name}" for name in nuscenes_tables.ATTRIBUTES[:2]]
    dataroot = data.write(tmp_path)
    with pytest.raises(UserError, match=r"2 attributes .* expected at most one"):
        load_ground_truth(dataroot, data.version, "mini_val")


def test_missing_and_broken_tables_are_named(data, dataroot):
    folder = dataroot / data.version
    with pytest.raises(UserError, match="no sample lies in the split's 1 scenes"):
        ground_truth_from_tables(folder, ["scene-0553"])
    (folder / "sample_data.json").write_text('[\n{"token": "a", "is_key')
    with pytest.raises(UserError, match=r"sample_data\.json: expected a list of rows"):
        ground_truth_from_tables(folder, ["scene-0103"])
    (folder / "sample_data.json").write_text("[]")
    with pytest.raises(UserError, match="names 'scene-0103-0', which no other table has"):
        ground_truth_from_tables(folder, ["scene-0103"])
    (folder / "ego_pose.json").unlink()
    with pytest.raises(UserError, match=r"but \['ego_pose'\] are missing"):
        load_ground_truth(dataroot, data.version, "mini_val")


FIELDS = [
    (table, field)
    for table in TABLES
    for field in nuscenes_tables.random_data_set(1).tables[table][0]
]


@pytest.mark.parametrize(("table", "field"), FIELDS)
def test_a_missing_field_is_named_if_it_is_read(data, tmp_path, table, field):
    rows = data.tables[table]
    for row in rows[1:]:
        del row[field]
    folder = data.write(tmp_path) / data.version
    if field not in TABLES[table]:
        assert len(ground_truth_from_tables(folder, ["scene-0103"]).boxes) > 10
        return
    token = rf"\(token {rows[1].get('token')!r}\)"
    message = rf"{table}\.json: row 1 {token} lacks \['{field}'\]; download the tables again"
    with pytest.raises(UserError, match=message):
        ground_truth_from_tables(folder, ["scene-0103"])


def test_every_field_that_is_read_was_left_out_once():
    read = {(table, field) for table, fields in TABLES.items() for field in fields}
    assert read < set(FIELDS)


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_rows_are_read_in_blocks_of_any_size(block, tmp_path, monkeypatch):
    monkeypatch.setattr("kd3d.evaluation.nuscenes.table_rows._BLOCK", block)
    rows = [{"token": "a]}", "n": 1.5}, {"token": "b", "list": [1, {"x": "\u00e4"}]}, {}]
    (tmp_path / "t.json").write_text(json.dumps(rows, indent=1))
    assert list(table_rows(tmp_path, "t")) == rows
    (tmp_path / "t.json").write_text(json.dumps(rows))
    assert list(table_rows(tmp_path, "t")) == rows


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"a": 1}', '[{"a": 1} {'])
def test_what_is_no_table_is_refused(text, tmp_path):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UserError, match=r"t\.json: expected"):
        list(table_rows(tmp_path, "t"))


def test_splits(dataroot):
    assert scenes_of_split(dataroot, "v1.0-mini", "mini_val") == ["scene-0103", "scene-0916"]
    assert scenes_of_split(dataroot, "v1.0-mini", "our_val") == nuscenes_tables.CUSTOM["our_val"]
    own = r"'trainval', got v1\.0-mini; its own splits are named in .*/v1\.0-mini/splits\.json"
    with pytest.raises(UserError, match=f"split val: expected a version that ends with {own}"):
        scenes_of_split(dataroot, "v1.0-mini", "val")
    with pytest.raises(UserError, match=r"a list of scenes under 'other', found \['our_val'\]"):
        scenes_of_split(dataroot, "v1.0-mini", "other")
    (dataroot / "v1.0-mini" / "splits.json").write_text("{")
    with pytest.raises(UserError, match=r"splits\.json: expected JSON"):
        scenes_of_split(dataroot, "v1.0-mini", "our_val")
    (dataroot / "v1.0-mini" / "splits.json").unlink()
    with pytest.raises(UserError, match="nor is there"):
        scenes_of_split(dataroot, "v1.0-mini", "our_val")
