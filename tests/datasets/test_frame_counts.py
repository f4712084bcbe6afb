from types import SimpleNamespace

from kd3d.datasets.frame_counts import count_frames


class Unlabelled(list):
    """Stands for the wrapper of that name, which holds its dataset."""

    dataset = (1, 2, 3)


def wrapped(*, dataset=None, datasets=None):
    inner = {"dataset": dataset} if datasets is None else {"datasets": datasets}
    return SimpleNamespace(**inner)


def test_frames_with_and_without_labels_are_counted_through_wrappers():
    assert count_frames([0] * 5) == (5, 0)
    assert count_frames(wrapped(dataset=[0] * 5)) == (5, 0)  # repeated: the frames stay the same
    joined = wrapped(datasets=[[0] * 5, Unlabelled([0] * 7), wrapped(dataset=[0] * 2)])
    assert count_frames(joined) == (7, 7)
    assert count_frames(wrapped(dataset=joined)) == (7, 7)
