"""tools/predict_configs.py: the table of a toy, and what it refuses."""


def test_the_table_is_printed_and_written(run, written, tmp_path):
    out = tmp_path / "latency.md"
    config = written(tmp_path)
    done = run("predict_configs.py", config, "--precision", "fp16", "--out", out)
    assert done.returncode == 0, done.stderr
    head, _, row = out.read_text().splitlines()
    assert head == "| detector | input | M parameters | GFLOPs | fp16, ms |"
    assert "64 x 64 px" in row
    assert out.read_text() in done.stdout


def test_what_the_predictor_assumes_is_told_once_a_detector(run, written, tmp_path):
    given = ("--device", "thor", "--precision", "fp16", "int8")
    done = run("predict_configs.py", written(tmp_path), *given)
    assert done.stdout.count("\n  warning: Thor: fitted on one family of networks alone") == 1


def test_an_earlier_table_is_replaced_only_when_asked(refused, written, tmp_path):
    out = tmp_path / "latency.md"
    out.write_text("mine")
    assert "--force" in refused("predict_configs.py", written(tmp_path), "--out", out)
    assert out.read_text() == "mine"


def test_a_folder_without_configs(refused, tmp_path):
    assert "no config in it" in refused("predict_configs.py", tmp_path)
