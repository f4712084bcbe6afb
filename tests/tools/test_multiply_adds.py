"""tools/multiply_adds.py: what it says to a cloud that does not fit."""

import numpy as np
import pytest
from toys_pillars import pillar_config

pytest.importorskip("mmdet3d")


def test_a_cloud_of_other_points(run, refused, tmp_path):
    config, cloud = tmp_path / "config.py", tmp_path / "cloud.bin"
    pillar_config("pointpillars").dump(config)
    np.random.default_rng(0).uniform(-1, 1, (9, 5)).astype(np.float32).tofile(cloud)
    command = ("multiply_adds.py", config, "--points", cloud)
    said = f"--points {cloud}: its 45 numbers are no whole points of --features"
    assert refused(*command).startswith(f"{said} 4; KITTI's have 4, nuScenes' 5")
    assert refused(*command, "--features", 0).startswith(f"{said} 0;")
    assert refused(*command, "--features", 3).startswith(
        "--features 3: the student reads 5 numbers"
    )
    done = run(*command, "--features", 5)
    assert done.returncode == 0
    assert done.stdout.startswith("student: ")
    cloud.write_bytes(b"")
    assert "its 0 numbers are no whole points" in refused(*command)
