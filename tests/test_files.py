import pytest

from kd3d.files import free_path


def test_a_path_is_free_if_nothing_is_there_or_may_be_replaced(tmp_path):
    path = tmp_path / "out.json"
    assert free_path(path, force=False) == path
    path.write_text("earlier")
    assert free_path(str(path), force=True) == path
    with pytest.raises(FileExistsError, match=r"out\.json exists; replace it with --force"):
        free_path(path, force=False)
    assert path.read_text() == "earlier"
