"""tools/fit_latency.py: what it refuses before it fits; its result is tested on real rows."""


def test_parameters_are_replaced_only_when_asked(refused, tmp_path):
    given = ("fit_latency.py", "--data", tmp_path, "--networks", tmp_path)
    assert "roofline_parameters.yaml exists; replace it with --force" in refused(*given)
    assert "no such file" in refused(*given, "--force")  # goes on to read its tables


def test_a_coverage_is_a_share(refused, tmp_path):
    given = ("--data", tmp_path, "--networks", tmp_path, "--out", tmp_path / "new.yaml")
    assert "between 0 and 1" in refused("fit_latency.py", *given, "--coverage", "80")
