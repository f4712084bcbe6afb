"""Places that cannot take a set are refused before any of it is made."""

import tempfile
from pathlib import Path

import pytest

from kd3d.datasets.synthetic.nuscenes.dataset import World, make_world
from kd3d.errors import UserError

TINY = World(scenes=1, val_scenes=0, keyframes=1)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, and a recorder that must not be reached."""
    monkeypatch.setattr("kd3d.datasets.synthetic.nuscenes.dataset.record_scene", None)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("out", [".", "..", "/", "../here"])
def test_the_current_folder_and_those_above_are_refused(here, out, overwrite):
    place = Path(out).resolve()
    message = f"--out {place}: .* the current folder {here} .* such as {place / 'synthetic_nus'}"
    with pytest.raises(UserError, match=message):
        make_world(Path(out), TINY, overwrite=overwrite)
    assert list(here.parent.iterdir()) == [here]
    assert list(here.iterdir()) == []


def test_a_mount_point_is_refused(here, tmp_path, monkeypatch):
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "volume")
    with pytest.raises(UserError, match=r"got a mount point; give one in it, such as .*/volume/"):
        make_world(tmp_path / "volume", TINY)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_refused(here, tmp_path, overwrite):
    (tmp_path / "w").write_bytes(b"photo")
    with pytest.raises(UserError, match="got a file; choose another"):
        make_world(tmp_path / "w", TINY, overwrite=overwrite)
    assert (tmp_path / "w").read_bytes() == b"photo"


def test_a_file_above_is_refused(here, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=f"to make a folder in {tmp_path}/file, got 'File exists'"):
        make_world(tmp_path / "file" / "w", TINY)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")]
)
def test_a_folder_that_cannot_be_written_is_refused(here, tmp_path, monkeypatch, error):
    def fail(**arguments):
        raise error

    monkeypatch.setattr(tempfile, "mkdtemp", fail)  # the tests may run as root, who may write
    with pytest.raises(UserError, match=f"a folder in {tmp_path}, got '{error.strerror}'; choose"):
        make_world(tmp_path / "w", TINY)


def test_a_complete_set_needs_no_place(small, small_root, monkeypatch):
    monkeypatch.chdir(small_root)
    assert not make_world(Path(), small)


def test_unreadable_settings_are_another_set(here, tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "set.json").write_text('{"scenes": 1')
    with pytest.raises(UserError, match=r"set\.json cannot be read"):
        make_world(tmp_path / "w", TINY)


def test_a_link_goes_on_to_lead_to_the_set(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    assert make_world(tmp_path / "link", TINY)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "set.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]
