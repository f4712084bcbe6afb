import numpy as np

from kd3d.evaluation.nuscenes import Boxes
from kd3d.evaluation.nuscenes.matching import Candidates, score_order


def boxes(places: list) -> Boxes:
    """Boxes at (frame, x, y)."""
    count = len(places)
    return Boxes.of(
        {
            "frame": [frame for frame, _, _ in places],
            "label": [0] * count,
            "center_m": [[x, y, 0] for _, x, y in places],
            "size_m": [[1, 1, 1]] * count,
            "rotation": [[1, 0, 0, 0]] * count,
            "velocity": [[0, 0]] * count,
            "score": [0.5] * count,
            "attribute": [-1] * count,
            "points": [-1] * count,
        }
    )


def match(predictions: list, objects: list, distance_m: float) -> list:
    candidates = Candidates(boxes(predictions), boxes(objects), frames=3, limit_m=4.0)
    return candidates.match(distance_m).tolist()


def test_later_prediction_first_among_equal_scores():
    assert score_order(np.array([0.5, 0.9, 0.5, 0.1, 0.9])).tolist() == [4, 1, 2, 0, 3]


def test_each_takes_the_nearest_that_is_free():
    objects = [(0, 0.0, 0.0), (0, 1.0, 0.0)]
    # the second would be nearer to object 0, which is taken: it takes object 1, 0.9 m away
    assert match([(0, 0.0, 0.0), (0, 0.1, 0.0)], objects, 2.0) == [0, 1]
    # at 0.5 m the second finds none, and the third still finds object 1
    assert match([(0, 0.0, 0.0), (0, 0.1, 0.0), (0, 1.2, 0.0)], objects, 0.5) == [0, -1, 1]


def test_the_first_of_equally_near_ones():
    assert match([(0, 0.0, 0.0)], [(0, 1.0, 0.0), (0, -1.0, 0.0)], 2.0) == [0]
    assert match([(0, 0.0, 0.0)] * 3, [(0, 0.3, 0.4), (0, 0.4, 0.3)], 2.0) == [0, 1, -1]


def test_the_distance_itself_is_too_far():
    assert match([(0, 0.0, 0.0)], [(0, 2.0, 0.0)], 2.0) == [-1]
    assert match([(0, 0.0, 0.0)], [(0, np.nextafter(2.0, 0), 0.0)], 2.0) == [0]
    assert match([(0, 0.0, 0.0)], [(0, 4.0, 0.0)], 4.0) == [-1]
    assert match([(0, 0.0, 0.0)], [(0, np.nextafter(4.0, 0), 0.0)], 4.0) == [0]


def test_only_in_its_own_frame():
    objects = [(2, 0.0, 0.0), (0, 0.0, 0.0)]  # numbers are those of the list, whatever its order
    assert match([(0, 0.0, 0.0), (1, 0.0, 0.0), (2, 0.0, 0.0)], objects, 1.0) == [1, -1, 0]
    assert match([(-1, 0.0, 0.0)], objects, 1.0) == [-1]


def test_nothing_to_match():
    assert match([], [(0, 0.0, 0.0)], 1.0) == []
    assert match([(0, np.nan, 0.0), (0, np.inf, 0.0)], [(0, 0.0, 0.0)], 1.0) == [-1, -1]
