"""fit_student as a user starts it."""


def test_a_bad_knob_is_refused_at_once(run):
    for given, said in (
        (["--budget-ms", "5", "--fix", "width"], "KNOB=NUMBER"),
        (["--budget-ms", "5", "--seed", "-1"], "--seed -1: expected 0 or more"),
        (["--budget-ms", "5", "--budget-by", "p99"], "invalid choice: 'p99'"),
    ):
        done = run("fit_student.py", "config.py", "--device", "orin-agx-64gb", *given)
        assert done.returncode == 2
        assert said in done.stderr


def test_unknown_devices_and_configs_are_named(refused, written, tmp_path):
    config = written(tmp_path)
    out = tmp_path / "out"
    budget = ("--budget-ms", "5", "--out", out)
    assert "orin-agx" in refused("fit_student.py", config, "--device", "orin-agks", *budget)
    absent = tmp_path / "absent.py"
    assert "no such file" in refused("fit_student.py", absent, "--device", "thor", *budget)
    assert not out.exists()


def test_an_infeasible_budget_is_one_message(refused, written, tmp_path):
    config = written(tmp_path)
    message = refused(
        *("fit_student.py", config, "--device", "orin-nano-4gb", "--budget-ms", "0.001"),
        *("--out", tmp_path / "out"),
    )
    assert "keeps the budget of 0.001 ms: the smallest takes" in message


def test_the_budget_is_kept_by_the_upper_end_if_asked(refused, written, tmp_path):
    given = ("--device", "orin-nano-4gb", "--budget-ms", "0.001", "--budget-by", "high")
    message = refused("fit_student.py", written(tmp_path), *given, "--out", tmp_path / "out")
    assert "0.001 ms with the upper end of the 80% interval: the smallest takes" in message
