import json

import pytest

from kd3d.recipes.crew import Crew
from kd3d.recipes.deliver import export_roles, report
from kd3d.recipes.execute import all_settings, execute
from kd3d.recipes.plan import plan_runs
from kd3d.recipes.recipe import Control, Recipe

NOTE_CALL = """
    import pathlib, sys
    with (pathlib.Path(__file__).parent / "calls.txt").open("a") as calls:
        calls.write(" ".join([pathlib.Path(__file__).name, *sys.argv[1:]]) + "\\n")
"""
EXPORT = (
    NOTE_CALL
    + """
    out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
    out.mkdir(parents=True, exist_ok=True)
    (out / "record-export.json").write_text("{}")
"""
)
BENCHMARK = (
    NOTE_CALL
    + """
    (pathlib.Path(sys.argv[1]) / "record-latency-onnxruntime.json").write_text("{}")
"""
)


@pytest.fixture
def deliver(tools, distilled, teacher, tmp_path):
    """Has the teacher alone tested; then exports, and returns the fake tools' calls."""
    tools.add("export.py", EXPORT)
    tools.add("benchmark.py", BENCHMARK)
    tools.add("report.py", NOTE_CALL)
    recipe = Recipe(name="toy", distilled=distilled, seeds=(3,), control=Control(scale=2.0))
    runs = plan_runs(recipe, teacher, tmp_path)
    with Crew(tools.machine(), print) as crew:
        execute(runs, runs[:1], tmp_path, crew=crew)
    tools.calls()

    def _deliver(size=(64, 96)):
        said = []
        with Crew(tools.machine(), said.append) as crew:
            export_roles(runs, tmp_path, input_size=size, crew=crew)
        return tools.calls(), said

    _deliver.runs = runs
    return _deliver


def test_a_finished_role_is_exported_and_timed(deliver, tmp_path):
    calls, said = deliver()
    run, out = tmp_path / "teacher", tmp_path / "export/teacher"
    assert calls == [
        f"export.py {run}/plan/teacher.py https://example.org/teacher.pth --out {out} "
        "--role teacher --name teacher --input-size 64 96 --force",
        f"benchmark.py {out} --backend onnxruntime",
    ]
    assert "export of distilled: left out, distilled/seed3 is not finished" in said
    origin = json.loads((out / "origin.json").read_text())
    assert origin["settings"] == all_settings(deliver.runs)["teacher"]


def test_what_was_exported_stays_until_size_or_run_change(deliver, tmp_path):
    deliver()
    assert deliver()[0] == []
    assert len(deliver(size=(32, 96))[0]) == 2
    (tmp_path / "export/teacher/record-latency-onnxruntime.json").unlink()
    assert len(deliver(size=(32, 96))[0]) == 2
    (tmp_path / "export/teacher/origin.json").write_text("")  # a power failure
    assert len(deliver(size=(32, 96))[0]) == 2


def test_a_size_left_out_is_left_to_the_config(deliver):
    calls, _ = deliver(size=None)
    assert "--input-size" not in calls[0]
    assert calls[0].endswith("--name teacher --force")
    assert deliver(size=None)[0] == []


def test_the_report_is_made_of_the_work_dir(deliver, tools, tmp_path):
    with Crew(tools.machine(), print) as crew:
        assert report(tmp_path, crew) == tmp_path / "report"
    assert tools.calls() == [f"report.py {tmp_path} --out {tmp_path}/report"]
