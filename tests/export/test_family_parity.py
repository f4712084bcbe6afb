"""`make parity`: a family's rows, and a fault in one file that the command has to report."""

import json
import shutil
from pathlib import Path

import family_parity
import onnx
import pytest
from onnx_damage import damaged, put_in_place
from toys_families import CHANGES

from kd3d.backends.tolerances import TOLERANCES

HEAD = "/bbox_head/retina_cls"
COLUMNS = len(family_parity.COLUMNS)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    return family_parity.export("retinanet", tmp_path_factory.mktemp("family"))


@pytest.fixture
def run(exported, tmp_path, monkeypatch, capsys):
    """The command on a copy of the bundle, changed before: exit code, rows, progress."""

    def call(change=lambda folder: None):
        folder = shutil.copytree(exported, tmp_path / "bundle")
        change(folder)
        monkeypatch.setattr(family_parity, "export", lambda toy, _: folder)
        code = 0
        try:
            family_parity.main(["--families", "RetinaNet"])
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        lines = [line.strip("|").split("|") for line in printed.out.splitlines()]
        return code, [[cell.strip() for cell in line] for line in lines], printed.err

    return call


def test_every_exportable_family_is_a_row():
    assert set(CHANGES) | {"pointpillars", "centerpoint"} == set(family_parity.FAMILIES.values())


def test_a_right_export_has_three_rows_that_pass(run):
    code, (head, _, *rows), progress = run()
    assert code == 0
    assert head == list(family_parity.COLUMNS)
    assert [row[:2] for row in rows] == [["RetinaNet", name] for name in ("fp32", "fp16", "int8")]
    for row in rows:
        assert len(row) == COLUMNS
        assert 0 < float(row[2]) <= TOLERANCES[row[1]].relative
        found, _, expected = row[3].partition(" of ")
        assert expected.isdecimal()  # and no word that the boxes are not counted
        assert int(found) <= int(expected)
        assert row[5:] == ["passed", ""]
    assert "1 of 1 families done, about 0 min 00 s left" in progress
    assert "left out" not in progress


def test_a_fault_in_one_file_is_named_and_fails_the_command(run):
    def collapse(folder):
        model = onnx.load(folder / "model-fp16.onnx")
        head = next(n for n in model.graph.node if n.op_type == "Conv" and HEAD in n.name)
        put_in_place(folder, "fp16", damaged(model, head.output[0], "collapsed"))

    code, (_, _, *rows), _ = run(collapse)
    assert code == "parity failed: 1 of 1 families"  # Python prints it and exits with 1
    assert [row[5].partition(":")[0] for row in rows] == ["passed", "FAILED", "passed"]
    assert HEAD in rows[1][6]


def test_a_wrong_description_fails_the_command(run):
    def mislabel(folder):
        path = folder / "export.json"
        content = json.loads(path.read_text())
        content["postprocessing"]["score_threshold"] = 0.5
        path.write_text(json.dumps(content))

    code, (_, _, *rows), _ = run(mislabel)
    assert code
    assert rows[-1][1] == "all"
    assert "score_threshold is 0.5" in rows[-1][5]
