import json

import numpy as np
import pytest
from toys_bundle import write_bundle

from kd3d.backends.bundle import Bundle
from kd3d.backends.open_bundle import open_bundle
from kd3d.errors import UserError
from kd3d.profiling.backend_latency import Options
from kd3d.profiling.bundle_latency import (
    arm_from_bundle,
    check_batch,
    check_options,
    measure_voxelization,
)


def arm(folder, **settings):
    bundle = Bundle.read(folder)
    backend = open_bundle(bundle, "onnxruntime", engines=folder)
    return arm_from_bundle(bundle, backend, "fp32", Options(**settings))


def test_the_sample_is_repeated_for_a_batch(tmp_path):
    folder = write_bundle(tmp_path)
    single = arm(folder)
    assert (single.batch, single.feeds["x"].shape) == (1, (1, 8))
    four = arm(folder, batch=4, threads=2)
    assert (four.batch, four.feeds["x"].shape) == (4, (4, 8))
    np.testing.assert_array_equal(four.feeds["x"][3], single.feeds["x"][0])
    assert four.conditions["threads"] == 2
    assert single.conditions == {
        "precision": "fp32",
        "input": "8",
        "threads": "default",
        "timed": "network and box decoding, without preprocessing and NMS",
    }


def test_a_fixed_batch_is_the_files(tmp_path):
    folder = write_bundle(tmp_path, batch=1)
    assert arm(folder, batch=1).batch == 1
    with pytest.raises(UserError, match=r"batch 2: .* takes 1; export it with --batch 2"):
        check_batch(Bundle.read(folder), "onnxruntime", 2)
    with pytest.raises(UserError, match="batch 0"):
        check_batch(Bundle.read(folder), "onnxruntime", 0)


def test_an_engine_takes_what_its_profile_allows(tmp_path):
    folder = write_bundle(tmp_path)
    content = json.loads((folder / "export.json").read_text())
    content["profiles"] = {"x": {"min": [1, 8], "opt": [1, 8], "max": [4, 8]}}
    (folder / "export.json").write_text(json.dumps(content))
    bundle = Bundle.read(folder)
    for backend, batch in (("tensorrt", None), ("tensorrt", 4), ("onnxruntime", 5)):
        check_batch(bundle, backend, batch)
    with pytest.raises(UserError, match=r"batch 5: an engine of .* takes 1 to 4; .* --batch 5"):
        check_batch(bundle, "tensorrt", 5)
    assert arm(folder, batch=5).batch == 5


def test_too_few_iterations_and_threads():
    check_options(Options(iterations=200, threads=1))
    with pytest.raises(UserError, match="199 iterations: expected at least 200"):
        check_options(Options(iterations=199))
    with pytest.raises(UserError, match="0 threads: expected 1 or more"):
        check_options(Options(threads=0))


def test_voxelization_is_timed_where_there_are_points(tmp_path):
    folder = write_bundle(tmp_path, batch=2)
    assert measure_voxelization(Bundle.read(folder)) == {}
    content = json.loads((folder / "export.json").read_text())
    content["voxelization"] = {
        "voxel_size_m": [0.5, 0.5, 4.0],
        "range_m": [0, 0, -2, 4, 4, 2],
        "max_num_points": 5,
        "max_pillars": 20,
        "steps": ["..."],
    }
    (folder / "export.json").write_text(json.dumps(content))
    points = np.random.default_rng(0).uniform(0, 4, (50, 4)).astype(np.float32)
    np.savez(folder / "sample.npz", points=points)
    now = iter(range(0, 10**12, 3_000_000))
    found = measure_voxelization(Bundle.read(folder), clock=lambda: next(now))
    assert found["voxelization_p50_ms"] == found["voxelization_mean_ms"] == 3.0
    assert found["voxelization_jitter_ms"] == 0.0
