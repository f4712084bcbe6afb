"""tools/eval_nuscenes.py on a small random data set."""

import json

import nuscenes_tables
import pytest

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes import evaluate, load_ground_truth, protocol_of, read_results
from kd3d.evaluation.nuscenes.record import write_results_record
from kd3d.report.record import Record

pytest.importorskip("nuscenes")

PROTOCOL = "detection_cvpr_2019"
DATA = nuscenes_tables.random_data_set(4, frames=6, objects=25)


@pytest.fixture
def dataroot(tmp_path):
    return DATA.write(tmp_path / "nuscenes")


@pytest.fixture
def results(tmp_path):
    tokens = DATA.tokens(["scene-0103", "scene-0916"])
    path = tmp_path / "results.json"
    path.write_text(json.dumps(nuscenes_tables.random_results(DATA, tokens, 4)))
    return path


@pytest.fixture
def flags(dataroot):
    return ["--dataroot", dataroot, "--version", "v1.0-mini", "--split", "mini_val"]


def test_table_and_record(run, results, flags, tmp_path):
    out = tmp_path / "evaluated"
    done = run("eval_nuscenes.py", results, *flags, "--out", out, "--role", "teacher")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "v1.0-mini, split mini_val, 12 frames"
    header = ["class", "AP", *(f"AP@{distance}m" for distance in ("0.5", "1", "2", "4"))]
    assert lines[1].split() == [*header, "ATE", "ASE", "AOE", "AVE", "AAE"]
    assert lines[-1] == f"record: {out / 'record-accuracy.json'}"
    record = Record.read(out / "record-accuracy.json")
    assert f"NDS {record.metrics['NDS']:.1f} " in lines[-2]
    assert (record.role, record.name) == ("teacher", "results")
    assert (out / record.files["predictions"]).samefile(results)
    assert set(json.loads((out / "curves.json").read_text())) == set(nuscenes_tables.CLASSES)
    again = run("eval_nuscenes.py", results, *flags, "--out", out)
    assert again.returncode == 2
    assert "replace it with --force" in again.stderr
    assert run("eval_nuscenes.py", results, *flags, "--out", out, "--force").returncode == 0


def test_a_misspelt_role_leaves_nothing(run, results, flags, tmp_path):
    out = tmp_path / "evaluated"
    done = run("eval_nuscenes.py", results, *flags, "--out", out, "--role", "studnt")
    assert done.returncode == 2
    assert "argument --role: invalid choice: 'studnt'" in done.stderr
    assert done.stdout == ""
    truth = load_ground_truth(flags[1], "v1.0-mini", "mini_val")
    found = read_results(results, truth, split="mini_val", protocol=protocol_of(PROTOCOL))
    result = evaluate(truth, found.boxes, protocol_of(PROTOCOL), matched_in=found.matched_in)
    with pytest.raises(UserError, match="role: expected one of"):
        write_results_record(result, results, out, data={}, role="studnt")
    assert not out.exists()


def test_official_agrees(run, results, flags):
    done = run("eval_nuscenes.py", results, *flags, "--official")
    assert done.returncode == 0, done.stderr
    # two scores, five mean errors; four APs and five errors of each of ten classes
    assert f"{2 + 5 + 10 * (4 + 5)} of 97 values are equal to the last bit" in done.stdout
    assert "largest difference: 0" in done.stdout


def test_official_disagrees(run, results, flags, monkeypatch):
    from nuscenes.eval.detection.data_classes import DetectionMetrics

    monkeypatch.setattr(DetectionMetrics, "nd_score", property(lambda self: 0.125))
    done = run("eval_nuscenes.py", results, *flags, "--official")
    assert done.returncode == 1
    assert "96 of 97 values are equal" in done.stdout
    assert "in NDS" in done.stdout
    assert "devkit 0.125" in done.stdout


def test_mistakes_end_with_one_message(run, results, flags, tmp_path):
    (tmp_path / "bad.json").write_text('{"results": {}')
    done = run("eval_nuscenes.py", tmp_path / "bad.json", *flags)
    assert done.returncode == 2
    assert "expected nuScenes results as JSON" in done.stderr
    done = run("eval_nuscenes.py", results, *flags[:-1], "val")
    assert done.returncode == 2
    assert "expected a version that ends with 'trainval'" in done.stderr
    assert run("eval_nuscenes.py", tmp_path / "none.json", *flags).returncode == 2
