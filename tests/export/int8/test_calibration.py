import numpy as np
import pytest
from onnx_toys import detector, images, write_model

from kd3d.errors import UserError
from kd3d.export.int8.calibration import (
    PERCENTILES,
    check_calibration,
    largest_values,
    percentile_ranges,
)


@pytest.fixture
def doubled(tmp_path):
    nodes = [("Mul", ("values", "two"), "out", {})]
    constants = {"two": np.float32(2)}
    return write_model(tmp_path / "m.onnx", nodes, constants, ["out"], inputs={"values": ("N",)})


def values(*numbers):
    return {"values": np.array(numbers, np.float32)}


def test_largest_values_over_all_inputs(doubled):
    found = largest_values(doubled, [values(1, -3), values(2)])
    assert found == {"values": 3, "out": 6}


def test_percentiles_over_all_inputs(doubled):
    """999 values up to 1 and one of 1000, in inputs of two sizes."""
    rising = np.linspace(-1, 1, 999, dtype=np.float32)
    found = percentile_ranges(doubled, [{"values": rising}, values(1000)], ["Mul"])
    assert tuple(found) == PERCENTILES
    assert found[99.9]["values"] == pytest.approx(1, rel=0.017)
    assert found[99.9]["out"] == pytest.approx(2, rel=0.017)
    assert found[99.99]["values"] == found[99.999]["values"] == 1000


def test_a_percentile_is_a_bound_as_close_as_its_bins(doubled):
    array = np.abs(np.random.default_rng(0).normal(size=10000)).astype(np.float32)
    found = percentile_ranges(doubled, [{"values": array}], ["Mul"])[99.9]["values"]
    exact = np.quantile(array, 0.999, method="inverted_cdf")
    assert exact <= found <= exact * (1 + 1 / 64)


def test_an_input_of_zeros_has_no_range(doubled):
    assert percentile_ranges(doubled, [values(0, 0)], ["Mul"])[99.9]["values"] == 0


def test_only_inputs_and_outputs_of_the_named_types_are_measured(tmp_path):
    found = percentile_ranges(detector(tmp_path / "m.onnx"), images(1), ["Concat"])
    assert set(found[99.9]) == {"pool", "stem_relu", "join"}


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ([], "no calibration inputs"),
        ([values(1), {"images": np.zeros(1, np.float32)}], "input 1: expected inputs"),
        ([values()], "'values': expected finite values, but it is empty"),
        ([values(1, np.nan)], "not finite"),
    ],
)
def test_what_cannot_be_calibrated_on(doubled, feeds, message):
    with pytest.raises(UserError, match=message):
        check_calibration(doubled, feeds)
