import xml.etree.ElementTree as ElementTree

import pytest

from kd3d.report.charts import WIDTH, Series, bar_plot, dot_plot, line_plot, ticks


def elements(svg: str, tag: str, style: str = "") -> list:
    """Parsing also proves that the SVG is well formed."""
    found = ElementTree.fromstring(svg).iter(tag)
    return [element for element in found if style in element.get("class", "").split() or not style]


def test_dots_lie_on_one_scale_with_their_mean_between():
    rows = [
        Series("baseline", "a & b", [(20.0, 0), (24.0, 0)]),
        Series("control", "c", [(24.0, 0)]),
    ]
    svg = dot_plot(rows, unit="AP", reference=40.0)
    first, second, third = (float(c.get("cx")) for c in elements(svg, "circle"))
    assert first < second == third  # 24 and 24
    mean = float(elements(svg, "line", "role-baseline")[0].get("x1"))
    assert mean == pytest.approx((first + second) / 2, abs=0.1)
    reference = float(elements(svg, "line", "reference")[0].get("x1"))
    assert second < reference < WIDTH


def test_a_curve_starts_and_ends_at_its_points():
    svg = line_plot("loss", [Series("distilled", "x", [(0.0, 2.0), (100.0, 1.0)], faint=True)])
    (line,) = elements(svg, "polyline", "faint")
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in line.get("points").split())
    assert x0 < x1
    assert y0 < y1  # downwards in SVG: 2 lies above 1


@pytest.mark.parametrize("point", [(0.0, 0.0), (5.0, -3.0)])
def test_a_curve_without_extent_stays_on_its_panel(point):
    (line,) = elements(line_plot("flat", [Series("x", "x", [point])], height=220), "polyline")
    _, y = map(float, line.get("points").split(","))
    assert 0 < y < 220


def test_bars_are_as_high_as_their_values_and_absent_ones_are_left_out():
    svg = bar_plot(
        ["car", "bus"], {"baseline": {"car": 20.0, "bus": 10.0}, "control": {"car": 40.0}}, "AP"
    )
    heights = [float(bar.get("height")) for bar in elements(svg, "rect")]
    assert len(heights) == 3
    car_baseline, car_control, bus = heights
    assert car_baseline / car_control == pytest.approx(20 / 40, rel=0.01)
    assert bus / car_control == pytest.approx(10 / 40, rel=0.01)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (18.6, 41.4, [20, 25, 30, 35, 40]),
        (-0.5, 0.5, [-0.4, -0.2, 0, 0.2, 0.4]),
    ],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert ticks(low, high) == expected
