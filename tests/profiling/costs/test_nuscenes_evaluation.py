"""The corpus and the equality that the benchmark prints; its times are for nobody's test."""

import dataclasses

import numpy as np
import pytest

from kd3d.evaluation.nuscenes import CVPR_2019
from kd3d.evaluation.nuscenes.filters import counting
from kd3d.profiling.costs.nuscenes_corpus import nuscenes_corpus
from kd3d.profiling.costs.nuscenes_evaluation import measure_devkit, measure_ours, unequal_values

pytest.importorskip("nuscenes")


def test_corpus_has_the_sizes_asked_for_and_is_seeded():
    truth, found = nuscenes_corpus(20, 50)
    assert (len(truth.tokens), len(truth.boxes), len(found)) == (20, 20 * 30, 20 * 50)
    assert counting(truth.boxes, truth, CVPR_2019).all()
    assert counting(found, truth, CVPR_2019).mean() > 0.97
    again = nuscenes_corpus(20, 50)[1]
    np.testing.assert_array_equal(again.center_m, found.center_m)


def test_both_evaluators_answer_the_same():
    ours, devkit = measure_ours(5, 20, repeats=1), measure_devkit(5, 20)
    assert len(ours.values) == 97
    assert unequal_values(ours, devkit) == []
    assert 50 < ours.peak_mb < 1000
    changed = dataclasses.replace(devkit, values={**devkit.values, "NDS": 0.5})
    assert unequal_values(ours, changed) == ["NDS"]
