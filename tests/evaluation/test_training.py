from mmengine.logging import HistoryBuffer

from kd3d.evaluation.training import cache_fills, median_step_s


def test_a_step_is_timed_without_what_filled_caches():
    times = [5.0, 7.0, 2.0, 3.0]
    assert median_step_s(times, []) == 5.0
    assert median_step_s(times, [4.0, 6.5]) == 2.0  # of 1, 0.5, 2, 3


def test_what_several_teachers_fill_adds_up():
    histories = {
        "train/time": [9.0, 9.0, 9.0],
        "distill/cache_fill_seconds": [1.0, 0.5],  # stopped after two iterations
        "second/cache_fill_seconds": [2.0, 0.0, 0.25],
    }
    buffers = {key: HistoryBuffer(values, [1] * len(values)) for key, values in histories.items()}
    assert cache_fills(buffers) == [3.0, 0.5, 0.25]
    assert cache_fills({"train/time": buffers["train/time"]}) == []
