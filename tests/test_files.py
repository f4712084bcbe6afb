import os

import pytest

from kd3d.errors import UserError
from kd3d.files import (
    expected_json,
    free_path,
    read_json,
    whole_folder,
    writable_path,
    write_json,
)


def test_a_path_is_free_if_nothing_is_there_or_may_be_replaced(tmp_path):
    path = tmp_path / "out.json"
    assert free_path(path, force=False) == path
    path.write_text("earlier")
    assert free_path(str(path), force=True) == path
    with pytest.raises(FileExistsError, match=r"out\.json exists; replace it with --force"):
        free_path(path, force=False)
    assert path.read_text() == "earlier"
    for force in (False, True):
        with pytest.raises(IsADirectoryError, match="is a folder; expected the name of a file"):
            free_path(tmp_path, force=force)


def test_a_place_where_nothing_can_be_written_is_told_before_the_work(tmp_path):
    path = tmp_path / "new" / "out.json"
    assert writable_path(str(path), "choose another --out") == path
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"out\.json: expected to write in .*file.*; choose another --out"
    ):
        writable_path(tmp_path / "file" / "out.json", "choose another --out")


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Else a power failure may leave an empty file under the name."""
    path, synced = tmp_path / "a.json", []

    def fsync(descriptor):
        synced.append((os.fstat(descriptor).st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_json(path, {"a": 1})
    assert synced == [(len(path.read_text()), False)]
    assert read_json(path) == {"a": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b'{"a": ', b"\xff", None])
def test_json_that_is_damaged_or_absent_is_none(content, tmp_path):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    assert read_json(path) is None


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff"])
def test_json_of_the_user_that_is_none_is_named(content, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json: expected a record as JSON, but "):
        expected_json(path, "a record as JSON")
    path.write_text('{"a": 1}')
    assert expected_json(str(path), "a record as JSON") == {"a": 1}


def test_a_whole_folder_appears_only_without_an_error(tmp_path):
    target = tmp_path / "deep" / "export"

    def fail_half_way():
        with whole_folder(target) as folder:
            (folder / "first").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert list(target.parent.iterdir()) == []
    for name in ("first", "second"):  # in the place of the first
        with whole_folder(target) as folder:
            (folder / name).touch()
    assert [path.name for path in target.parent.iterdir()] == ["export"]
    assert [path.name for path in target.iterdir()] == ["second"]
    with whole_folder(target) as folder:
        folder.rmdir()
    assert [path.name for path in target.iterdir()] == ["second"]
