import json
import subprocess
import sys
from pathlib import Path

import pytest

import kd3d
from kd3d.errors import UserError
from kd3d.report.output import write_report
from kd3d.report.record import Record

TOOL = Path(kd3d.__file__).parents[1] / "tools" / "report.py"


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_three_files_are_written_and_hold_all_records(tmp_path, make_work_dir):
    out = tmp_path / "report"
    paths = write_report([make_work_dir(tmp_path)], out)
    assert paths == [out / "index.html", out / "report.md", out / "records.json"]
    records = [Record(**entry) for entry in json.loads(paths[2].read_text())]
    assert len(records) == 1 + 3 * 3 * 2 + 2 * 2  # a teacher, nine trained students, two exports
    text = paths[1].read_text()
    assert text.startswith("# kd3d report\n\nOver 3 seeds")
    assert "| distilled |" in text
    assert f"--out {out}" in text


def test_single_runs_are_joined(tmp_path, make_work_dir):
    work = make_work_dir(tmp_path)
    roles = [work / role for role in ("teacher", "baseline", "control", "distilled")]
    write_report(roles, tmp_path / "report")
    assert "50 \u00b1 0 %" in (tmp_path / "report" / "report.md").read_text()


def test_a_second_report_replaces_the_first_and_nothing_else(tmp_path, make_work_dir):
    work, out = make_work_dir(tmp_path), tmp_path / "work" / "report"
    write_report([work], out)
    (out / "notes.txt").write_text("mine")
    first = (out / "index.html").read_text()
    write_report([work], out)
    assert (out / "index.html").read_text() == first
    assert (out / "notes.txt").read_text() == "mine"


def test_foreign_files_are_kept_without_force(tmp_path, make_work_dir):
    work, out = make_work_dir(tmp_path), tmp_path / "site"
    out.mkdir()
    (out / "index.html").write_text("<html>my site</html>")
    with pytest.raises(UserError, match=r"site: has index.html, which is no earlier report"):
        write_report([work], out)
    assert [path.name for path in out.iterdir()] == ["index.html"]
    write_report([work], out, force=True)
    assert "my site" not in (out / "index.html").read_text()


def test_the_command_prints_its_paths_and_runs_without_mm_libraries(tmp_path, make_work_dir):
    work, out = make_work_dir(tmp_path), tmp_path / "report"
    done = run(work, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str(out / name) for name in ("index.html", "report.md", "records.json")
    ]
    code = (
        "import sys, kd3d.report.output;"
        "print([m for m in sys.modules if m.startswith(('mm', 'torch'))])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_wrong_folder_is_one_line_and_exit_code_2(tmp_path, name):
    (tmp_path / "empty").mkdir()
    done = run(tmp_path / name, "--out", tmp_path / "report")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / name}: expected")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "report").exists()
