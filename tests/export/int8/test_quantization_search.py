"""Which layers stay float, where the noise of each is known."""

import numpy as np
import pytest
from onnx_toys import images, weights, write_model

from kd3d.export.graphs.graph_parts import read_graph
from kd3d.export.int8 import quantization_search
from kd3d.export.int8.quantization_search import QuantizationSearch, _Found
from kd3d.export.int8.quantization_units import scale_units
from kd3d.export.int8.quantize import int8_from_onnx

# of the units that c0 to c3 read; added up 0.055
ALONE = {"images": 0.012, "c0": 0.012, "c1": 0.011, "c2": 0.02}


@pytest.fixture
def choose(tmp_path, monkeypatch):
    """Layers kept float in a row of four, if units together make ``factor`` times their sum."""
    nodes, constants, read = [], {}, "images"
    for index, channels in enumerate((3, 4, 4, 4)):
        name = f"c{index}"
        nodes.append(("Conv", (read, f"{name}.w"), name, {"kernel_shape": [1, 1]}))
        constants[f"{name}.w"] = weights(4, channels, 1, 1, seed=index)
        read = name
    graph = read_graph(write_model(tmp_path / "m.onnx", nodes, constants, ["c3"]))

    def run(factor):
        def noise(self, on):
            return np.array([factor * sum(ALONE[name] for name in on)])

        def measure(self, units, heads):
            """The first three are not taken apart at first, as they do little together."""
            parts = [units[:3], units[3:]] if len(units) == 4 else [[unit] for unit in units]
            alone = [np.array([sum(ALONE[unit.name] for unit in part)]) for part in parts]
            return [_Found(part, 99.9, n) for part, n in zip(parts, alone, strict=True)]

        monkeypatch.setattr(QuantizationSearch, "_noise", noise)
        monkeypatch.setattr(QuantizationSearch, "_measure", measure)
        monkeypatch.setattr(quantization_search, "NOISE", 0.05)
        ranges = {99.9: dict.fromkeys(ALONE, 1.0)}
        search = QuantizationSearch(graph, scale_units(graph), ranges, {}, images(2))
        return search.choose(None).kept

    return run


def test_one_layer_that_does_much_goes_before_three_that_do_more_together(choose):
    assert choose(1.0) == ("c3",)


def test_more_goes_where_all_together_are_noisier_than_their_sum(choose):
    # 1.5 * 0.035 is too much: the three are taken apart, and the first of the worst goes
    assert choose(1.5) == ("c0", "c3")


def test_what_was_added_up_too_high_comes_back(choose):
    assert choose(0.7) == ()


def test_one_layer_goes_before_a_tensor_that_three_layers_read(tmp_path, monkeypatch):
    nodes = [("Conv", ("images", "w"), "stem", {"kernel_shape": [1, 1]})]
    nodes += [("Conv", ("stem", "w4"), name, {"kernel_shape": [1, 1]}) for name in "abc"]
    constants = {"w": weights(4, 3, 1, 1), "w4": weights(4, 4, 1, 1)}
    graph = read_graph(write_model(tmp_path / "m.onnx", nodes, constants, ["a", "b", "c"]))
    alone = {"images": 0.025, "stem": 0.03}
    monkeypatch.setattr(
        QuantizationSearch, "_noise", lambda self, on: np.full(3, sum(alone[n] for n in on))
    )
    monkeypatch.setattr(quantization_search, "NOISE", 0.05)
    ranges = {99.9: dict.fromkeys(alone, 1.0)}
    search = QuantizationSearch(graph, scale_units(graph), ranges, {}, images(2))
    assert search.choose(None).kept == ("stem",)


def test_a_bias_is_no_signal(tmp_path):
    nodes = [("Conv", ("images", "w", "b"), "out", {"kernel_shape": [1, 1]})]
    noise = []
    for bias in (0.0, 10.0):  # whose power is a hundred times that of the rest
        constants = {"w": weights(4, 3, 1, 1), "b": np.full(4, bias, np.float32)}
        source = write_model(tmp_path / "m.onnx", nodes, constants, ["out"])
        noise.append(int8_from_onnx(source, tmp_path / "int8.onnx", images(4)).noise["out"])
    assert 0 < noise[0] < 0.001
    assert noise[1] == pytest.approx(noise[0], rel=0.05)
