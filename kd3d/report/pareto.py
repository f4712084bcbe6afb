"""The trade of size against latency, as a front and as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

Point = tuple[float, float]  # latency in ms, size


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other one beats: at most as slow and larger, or as large.

    Args:
        points: (latency_ms, size) each.

    Returns:
        From the fastest to the slowest; of equal points the first.
    """
    order = sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1]))
    front: list[int] = []
    for index in order:
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def pareto_picture(
    points: Sequence[Point],
    path: Path,
    *,
    budget_ms: float,
    best: Point,
    title: str,
) -> Path:
    """Draws all points, their front, the budget and the best within it; PNG or SVG by suffix.

    Args:
        points: (latency in ms, multiply-adds in G) each.
        path: of the picture.
        budget_ms: a vertical line.
        best: marked.
        title: above.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")  # not pyplot's: it keeps figures
    axes = figure.subplots()
    front = [points[index] for index in pareto_front(points)]
    for shown, style, label in ((points, " ", "looked at"), (front, "-", "front")):
        latencies, sizes = zip(*shown, strict=True)
        axes.plot(latencies, sizes, linestyle=style, marker="o", markersize=4, label=label)
    axes.axvline(budget_ms, color="#b00020", linestyle="--", label=f"budget {budget_ms:g} ms")
    axes.scatter([best[0]], [best[1]], marker="*", s=180, color="#d9822b", zorder=3, label="chosen")
    axes.set(xlabel="predicted latency (ms)", ylabel="multiply-adds (G)", title=title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    return path
