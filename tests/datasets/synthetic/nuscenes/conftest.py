"""A small LiDAR-only world for the tests of its files."""

import pytest

from kd3d.datasets.synthetic.nuscenes.dataset import World, make_world

SMALL = World(scenes=2, val_scenes=2, test_scenes=1, keyframes=4, seed=5, sweeps=1)


@pytest.fixture(scope="package")
def small() -> World:
    return SMALL


@pytest.fixture(scope="package")
def small_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("world") / "small"
    assert make_world(root, SMALL)
    return root
