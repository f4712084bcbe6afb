import importlib.util
import json
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from kd3d.report.record import Record

TOOL = Path(__file__).resolve().parents[2] / "tools" / "run_recipe.py"
REPORT = """
    import pathlib, sys
    out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
    out.mkdir(parents=True)
    (out / "index.html").touch()
"""


@pytest.fixture
def run(tools, distilled, teacher, tmp_path, monkeypatch):
    """Runs the tool's main() with the fake tools, in a folder with a recipe."""
    tools.add("report.py", REPORT)
    monkeypatch.chdir(tmp_path)
    teacher.dump(tmp_path / "teacher.py")
    distilled.dump(tmp_path / "student.py")
    recipe = Config({"recipe": {"distilled": "student.py", "seeds": [0], "train_teacher": True}})
    recipe.dump(tmp_path / "compare.py")
    spec = importlib.util.spec_from_file_location("run_recipe", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "TOOLS", tools.folder)

    def _run(*arguments):
        monkeypatch.setattr(sys, "argv", ["run_recipe.py", *arguments])
        module.main()

    return _run


def test_a_recipe_ends_with_table_records_and_page(run, tmp_path, capsys):
    run("compare.py")
    page = capsys.readouterr().out.splitlines()[-1]
    assert page == "work_dirs/compare/report/index.html"
    record = Record.read("work_dirs/compare/distilled/seed0/record-accuracy.json")
    assert record.twin == {
        "teacher": "teacher",
        "baseline": "baseline/seed0",
        "control": "control/seed0",
    }
    # (30 - 20) / (40 - 20) and (30 - 25) / (40 - 25)
    assert record.metrics["gap_closed/baseline"] == pytest.approx(0.5)
    assert record.metrics["gap_closed/control"] == pytest.approx(1 / 3)


def test_options_change_every_student_but_not_the_teacher(run, tmp_path):
    run("compare.py", "--work-dir", "here", "--cfg-options", "train_cfg.max_iters=7")
    for name in ("distilled", "baseline", "control"):
        settings = json.loads((tmp_path / f"here/{name}/seed0/plan/settings.json").read_text())
        assert settings["train.train_cfg.max_iters"] == 7
    settings = json.loads((tmp_path / "here/teacher/plan/settings.json").read_text())
    assert settings["train.train_cfg.max_epochs"] == 3


def test_what_the_command_starts_keeps_its_lock(run, tools, tmp_path):
    held = """
    import fcntl, os
    for link in pathlib.Path("/proc/self/fd").iterdir():
        if os.path.basename(os.path.realpath(link)) == ".lock-children":
            fcntl.flock(int(link.name), fcntl.LOCK_EX | fcntl.LOCK_NB)  # it is the command's own
            (out / "held").touch()
    """
    tools.add("report.py", REPORT + held)
    run("compare.py", "--only", "teacher")
    assert (tmp_path / "work_dirs/compare/report/held").exists()


def test_a_mistake_is_one_line_and_exit_code_2(run, capsys):
    with pytest.raises(SystemExit) as ended:
        run("compare.py", "--only", "student")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: --only student: expected one of teacher")


def test_processes_need_a_launcher(run):
    with pytest.raises(SystemExit) as ended:
        run("compare.py", "--nproc", "2")
    assert ended.value.code == 2
