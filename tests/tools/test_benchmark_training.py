"""tools/benchmark_training.py as a user starts it."""


def test_one_round_has_no_quartiles(refused, tmp_path):
    says = refused("benchmark_training.py", "--rounds", 1, "--out", tmp_path)
    assert says.startswith("--rounds 1: quartiles need 2")
    assert list(tmp_path.iterdir()) == []
