import numpy as np
import pytest

from kd3d.backends.base import TensorSpec, check_feeds
from kd3d.errors import UserError

SPECS = [TensorSpec("images", (None, 3, 4), "float32")]


def test_free_dimension_takes_any_size():
    check_feeds(SPECS, {"images": np.zeros((7, 3, 4), np.float32)})


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({"image": np.zeros((1, 3, 4), np.float32)}, r"expected inputs \['images'\]"),
        ({"images": np.zeros((1, 3, 5), np.float32)}, r"float32 \(any, 3, 4\).*\(1, 3, 5\)"),
        ({"images": np.zeros((1, 3, 4))}, "got float64"),
        ({"images": np.zeros((3, 4), np.float32)}, r"got float32 \(3, 4\)"),
    ],
)
def test_unfit_feeds_are_named(feeds, words):
    with pytest.raises(UserError, match=words):
        check_feeds(SPECS, feeds)
