import sys

from kd3d.recipes.crew import Crew
from kd3d.recipes.prepare import argv_of, prepare
from kd3d.recipes.recipe import Preparation


def test_a_tool_of_ours_is_found_wherever_we_stand(tools):
    machine = tools.machine()
    assert argv_of("tools/datasets/make.py --out 'a b'", machine) == (
        *(sys.executable, f"{tools.folder}/datasets/make.py", "--out", "a b"),
    )
    assert argv_of("./mine.py x", machine) == (sys.executable, "./mine.py", "x")
    assert argv_of("unzip a.zip", machine) == ("unzip", "a.zip")


def test_what_is_made_is_not_made_again(tools, tmp_path):
    made, log = tmp_path / "made.txt", tmp_path / "log.txt"
    tools.add(
        "make.py",
        f"""
        from pathlib import Path
        Path({str(made)!r}).touch()
        with Path({str(log)!r}).open("a") as log:
            log.write("made ")
        """,
    )
    steps = [Preparation("tools/make.py", str(made)), Preparation("tools/make.py")]
    for _ in range(2):
        with Crew(tools.machine(), print) as crew:
            prepare(steps, tmp_path, crew)
    # both at first; then only the one that does not say what it makes
    assert log.read_text() == "made " * 3
