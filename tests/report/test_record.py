import json

import pytest

from kd3d.errors import UserError
from kd3d.report.record import Record, find_records, schema


def record(**changes) -> Record:
    values = {
        "kind": "accuracy",
        "role": "distilled",
        "name": "distilled/seed0",
        "metrics": {"AP": 30.5, "AP50": 51.0},
        "per_class": {"car": {"AP": 30.5}},
        "seed": 0,
        "twin": {"baseline": "baseline/seed0"},
        "conditions": {"input": "320x320", "epochs": 3, "amp": False},
    }
    return Record(**{**values, **changes})


def test_a_written_record_reads_back_equal(tmp_path):
    written = record()
    assert Record.read(written.write(tmp_path / "record-accuracy.json")) == written


def test_schema_lists_exactly_the_fields_of_a_record():
    assert set(schema()["properties"]) == set(Record.__dataclass_fields__)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "speed"}, "kind: expected one of ['accuracy'"),
        ({"role": "pupil"}, "role: expected one of"),
        ({"metrics": {"AP": float("nan")}}, "metrics: AP: expected a finite number"),
        ({"metrics": {"AP": "30"}}, "metrics: AP: expected number, got '30'"),
        ({"metrics": {"AP": True}}, "metrics: AP: expected number, got True"),
        ({"seed": 0.5}, "seed: expected integer or null"),
        ({"per_class": {"car": 1.0}}, "per_class: car: expected object"),
    ],
)
def test_a_wrong_value_is_named_and_nothing_is_written(tmp_path, change, said):
    path = tmp_path / "record-accuracy.json"
    with pytest.raises(UserError) as caught:
        record(**change).write(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_malformed_file_is_refused(tmp_path):
    path = tmp_path / "record-accuracy.json"
    path.write_text('{"kind": ')
    with pytest.raises(UserError, match=r"record-accuracy.json: expected a record as JSON"):
        Record.read(path)
    path.write_text("[]")
    with pytest.raises(UserError, match="expected object"):
        Record.read(path)


def test_missing_and_unknown_entries_are_refused(tmp_path):
    path = record().write(tmp_path / "record-accuracy.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "mAP": 3}))
    with pytest.raises(UserError, match="unknown entry 'mAP'"):
        Record.read(path)
    del content["metrics"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"expected the entries \['metrics'\]"):
        Record.read(path)


def test_records_are_found_below_a_folder_in_the_order_of_their_paths(tmp_path):
    record(name="b").write(tmp_path / "b" / "record-accuracy.json")
    record(name="a").write(tmp_path / "a" / "seed0" / "record-latency-onnxruntime.json")
    (tmp_path / "records.json").write_text("[]")  # the report's own list is not a record
    found = find_records(tmp_path)
    assert [each.name for each in found.values()] == ["a", "b"]
    assert list(found) == sorted(tmp_path.rglob("record-*.json"))


def test_a_missing_folder_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="expected a folder"):
        find_records(tmp_path / "absent")
