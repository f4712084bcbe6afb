import json

import pytest

from kd3d.evaluation.nuscenes.origin import origin_of


@pytest.mark.parametrize(
    ("vehicles", "answer"),
    [(["n015"], {}), (["n015", "synthetic"], {"synthetic": "yes"}), ([], {}), (None, {})],
)
def test_one_synthetic_vehicle_makes_a_synthetic_world(tmp_path, vehicles, answer):
    (tmp_path / "v1.0-mini").mkdir()
    if vehicles is not None:
        rows = [{"token": str(n), "vehicle": vehicle} for n, vehicle in enumerate(vehicles)]
        (tmp_path / "v1.0-mini" / "log.json").write_text(json.dumps(rows))
    assert origin_of(tmp_path, "v1.0-mini") == answer
