"""Charts as inline SVG: no script, no library, colours from the page's CSS variables.

Each function takes plain values and answers one ``<svg>`` as text. Colours are role names that
the page defines as CSS classes ``role-baseline`` and so on, for light and dark alike.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 1000


@dataclass(frozen=True)
class Series:
    """One line or one set of dots.

    Attributes:
        role: colour, see the module.
        label: text of the row, the legend or the tooltip.
        points: (x, y) pairs of a line, or (x, 0) of dots.
        faint: draw in the background.
    """

    role: str
    label: str
    points: Sequence[tuple[float, float]]
    faint: bool = False


def dot_plot(rows: Sequence[Series], *, unit: str, reference: float | None = None) -> str:
    """One row a series: a dot a value, and a bar at their mean.

    Args:
        rows: each with points (value, 0).
        unit: name of the horizontal axis.
        reference: value marked by a dashed line through all rows, such as the teacher's.
    """
    left, right, row_height, top = 200, 24, 34, 12
    values = [x for row in rows for x, _ in row.points]
    values += [] if reference is None else [reference]
    low, high = _padded(min(values), max(values))
    bottom = top + row_height * len(rows)

    def at(value: float) -> float:
        return left + (WIDTH - left - right) * (value - low) / (high - low)

    parts = [
        f'<line class="grid" x1="{at(t):.1f}" x2="{at(t):.1f}" y1="{top}" y2="{bottom}"/>'
        f'<text class="tick" x="{at(t):.1f}" y="{bottom + 18}" text-anchor="middle">{t:g}</text>'
        for t in ticks(low, high)
    ]
    if reference is not None:
        parts.append(
            f'<line class="reference role-teacher" x1="{at(reference):.1f}" '
            f'x2="{at(reference):.1f}" y1="{top}" y2="{bottom}"/>'
        )
    for number, row in enumerate(rows):
        y = top + row_height * (number + 0.5)
        average = sum(x for x, _ in row.points) / len(row.points)
        parts.append(
            f'<text class="name" x="{left - 14}" y="{y + 4:.1f}" text-anchor="end">'
            f"{escape(row.label)}</text>"
            f'<line class="mean role-{row.role}" x1="{at(average):.1f}" x2="{at(average):.1f}" '
            f'y1="{y - 11:.1f}" y2="{y + 11:.1f}"/>'
        )
        parts += [
            f'<circle class="dot role-{row.role}" cx="{at(x):.1f}" cy="{y:.1f}" r="5">'
            f"<title>{escape(row.label)}: {x:.1f}</title></circle>"
            for x, _ in row.points
        ]
    parts.append(
        f'<text class="tick" x="{WIDTH - right}" y="{bottom + 36}" text-anchor="end">'
        f"{escape(unit)}</text>"
    )
    return _svg(parts, WIDTH, bottom + 44, f"{unit} of each run")


def line_plot(
    title: str,
    lines: Sequence[Series],
    *,
    width: int = 480,
    height: int = 220,
    over: str = "iterations",
) -> str:
    """Curves from zero on both axes.

    Args:
        title: of the chart, and its vertical axis.
        lines: with points (x, y), x not below 0.
        width: in units of its text.
        height: likewise.
        over: what the horizontal axis counts.
    """
    left, right, top, bottom = 52, 22, 30, 34
    points = [point for line in lines for point in line.points]
    x_high = max(x for x, _ in points) or 1.0
    y_low, y_high = min(0.0, *(y for _, y in points)), max(0.0, *(y for _, y in points)) * 1.05
    y_high += y_high == y_low  # a flat curve at zero still needs an axis

    def at(x: float, y: float) -> tuple[float, float]:
        across = left + (width - left - right) * x / x_high
        down = top + (height - top - bottom) * (1 - (y - y_low) / (y_high - y_low))
        return across, down

    parts = [f'<text class="title" x="{left}" y="16">{escape(title)}</text>']
    for tick in ticks(y_low, y_high, 4):
        _, y = at(0, tick)
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    for tick in ticks(0, x_high, 5):
        x, _ = at(tick, 0)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{height - 14}" text-anchor="middle">{tick:g}</text>'
        )
    for line in lines:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*p) for p in line.points))
        faint = " faint" if line.faint else ""
        parts.append(
            f'<polyline class="curve role-{line.role}{faint}" points="{path}">'
            f"<title>{escape(line.label)}</title></polyline>"
        )
    return _svg(parts, width, height, f"{title} over {over}")


def bar_plot(classes: Sequence[str], groups: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """A cluster of bars a class, one bar a role.

    Args:
        classes: in the order to draw.
        groups: role -> class -> value in 0..100; a class may be absent.
        unit: name of the vertical axis.
    """
    left, right, top, bottom, height = 44, 8, 26, 46, 300
    high = max((v for group in groups.values() for v in group.values()), default=1.0) or 1.0
    high = min(100.0, high * 1.1)
    slot = (WIDTH - left - right) / len(classes)
    bar = min(34.0, 0.8 * slot / len(groups))
    scale = (height - top - bottom) / high
    parts = [f'<text class="tick" x="{left - 8}" y="14" text-anchor="end">{escape(unit)}</text>']
    for tick in ticks(0, high, 5):
        y = height - bottom - tick * scale
        parts.append(
            f'<line class="grid" x1="{left}" x2="{WIDTH - right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    for column, name in enumerate(classes):
        centre = left + slot * (column + 0.5)
        shown = name if len(name) * 7 < slot else name[: max(3, int(slot / 7) - 1)] + "."
        parts.append(
            f'<text class="name" x="{centre:.1f}" y="{height - bottom + 20}" text-anchor="middle">'
            f"{escape(shown)}<title>{escape(name)}</title></text>"
        )
        for place, (role, values) in enumerate(groups.items()):
            if name not in values:
                continue
            x, size = centre + bar * (place - len(groups) / 2), values[name] * scale
            parts.append(
                f'<rect class="bar role-{role}" x="{x + 1:.1f}" width="{bar - 2:.1f}" '
                f'y="{height - bottom - size:.1f}" height="{size:.1f}">'
                f"<title>{escape(name)}, {escape(role)}: {values[name]:.1f}</title></rect>"
            )
            if bar >= 26:
                parts.append(
                    f'<text class="value" x="{x + bar / 2:.1f}" text-anchor="middle" '
                    f'y="{height - bottom - size - 5:.1f}">{values[name]:.0f}</text>'
                )
    return _svg(parts, WIDTH, height, f"{unit} of each class")


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Round values inside [low, high], about ``count`` of them, in steps of 1, 2 or 5.

    >>> ticks(0, 47, 5)
    [0.0, 10.0, 20.0, 30.0, 40.0]
    """
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = max(1.0, 0.08 * (high - low))
    return low - margin, high + margin


def _svg(parts: Sequence[str], width: int, height: int, description: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(description)}">'
        f"{''.join(parts)}</svg>"
    )
