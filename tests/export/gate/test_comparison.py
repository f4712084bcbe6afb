import math

import numpy as np
import pytest

from kd3d.backends.base import TensorSpec
from kd3d.backends.parity import parity
from kd3d.backends.recorded import RecordedBackend
from kd3d.export.gate.comparison import level_parts


def test_levels_are_split_and_probabilities_become_log_odds():
    outputs = {
        "boxes": np.arange(12, dtype=np.float32).reshape(1, 3, 4),
        "scores": np.float32([[[0.5], [0.75], [0.0]]]),
        "labels": np.zeros((1, 3), np.int32),
    }
    parts = level_parts(outputs, sizes=(2, 1))
    assert list(parts) == ["boxes[0]", "boxes[1]", "scores[0]", "scores[1]"]
    np.testing.assert_array_equal(parts["boxes[1]"], [[[8, 9, 10, 11]]])
    np.testing.assert_allclose(parts["scores[0]"], [[[0], [math.log(3)]]])
    np.testing.assert_allclose(parts["scores[1]"], [[[math.log(1e-4 / (1 - 1e-4))]]])


def test_what_is_not_finite_stays_so():
    parts = level_parts({"scores": np.float32([[np.nan, np.inf, 0.5]])}, sizes=(2, 1))
    assert np.isnan(parts["scores[0]"]).all()
    assert np.isfinite(parts["scores[1]"]).all()


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_level_of_small_scores_is_compared_by_itself(factor):
    """Twice the score is nothing beside a sure box of another level."""
    feeds = {"x": np.zeros(1, np.float32)}
    sure, weak = np.float32([[[0.9], [0.99]]]), np.float32([[[2e-4], [3e-4]]])

    def backend(weak):
        outputs = {"scores": np.concatenate([sure, weak], 1)}
        return RecordedBackend([TensorSpec("x", (1,), "float32")], [(feeds, outputs)])

    def split(outputs):
        return level_parts(outputs, sizes=(2, 2))

    sides = backend(weak), backend(factor * weak)
    assert parity(*sides, [feeds]).passed
    found = parity(*sides, [feeds], split=split)
    assert found.tensors_agree
    assert found.passed is (factor == 1)
    assert found.parts["scores[0]"].rms == 0
