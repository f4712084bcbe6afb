"""Road users and clutter as coloured polygons in metres, seen from the camera.

A shape is a list of parts, drawn in order. Part coordinates are (x, y) in metres on a plane that
faces the camera: x to the right from the middle of the shape, y up from the ground.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Colour = tuple[float, float, float]

DARK: Colour = (35.0, 35.0, 38.0)
GLASS: Colour = (92.0, 84.0, 70.0)


@dataclass(frozen=True)
class Part:
    """One filled polygon.

    Attributes:
        outline: (N, 2) corners in metres.
        colour: blue, green, red in 0..255, before lighting.
    """

    outline: Points
    colour: Colour


def box(x1: float, y1: float, x2: float, y2: float, colour: Colour) -> Part:
    """An upright rectangle between two corners, in metres."""
    return Part(np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]), colour)


def disc(x: float, y: float, radius_m: float, colour: Colour, squash: float = 1.0) -> Part:
    """A disc of twelve corners; ``squash`` is its width over its height."""
    turn = np.linspace(0.0, 2 * np.pi, 12, endpoint=False)
    outline = np.stack([x + squash * radius_m * np.cos(turn), y + radius_m * np.sin(turn)], axis=1)
    return Part(outline, colour)


def limb(x1: float, y1: float, x2: float, y2: float, width_m: float, colour: Colour) -> Part:
    """A bar between two points: an arm, a leg, a bicycle tube."""
    along = np.array([x2 - x1, y2 - y1])
    across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6) * width_m / 2
    first, last = np.array([x1, y1]), np.array([x2, y2])
    return Part(np.stack([first - across, last - across, last + across, first + across]), colour)


def paint(rng: np.random.Generator) -> Colour:
    """A body colour: mostly grey tones, as on real roads, sometimes a strong one."""
    grey = rng.uniform(30, 225)
    spread = 12.0 if rng.random() < 0.55 else 80.0
    blue, green, red = np.clip(grey + rng.normal(0, spread, 3), 10, 245)
    return float(blue), float(green), float(red)


def shade(colour: Colour, factor: float) -> Colour:
    """The same colour, lighter or darker."""
    blue, green, red = (min(channel * factor, 255.0) for channel in colour)
    return blue, green, red


def car(rng: np.random.Generator) -> list[Part]:
    """A car from behind, from ahead, or (three in ten) from its side."""
    colour = paint(rng)
    if rng.random() < 0.3:
        return _car_side(rng, colour)
    half, height = rng.uniform(0.82, 0.95), rng.uniform(1.4, 1.75)
    waist, roof = rng.uniform(0.5, 0.6) * height, rng.uniform(0.62, 0.8) * half
    lamp: Colour = (40, 40, 190) if rng.random() < 0.6 else (190, 225, 235)
    cabin = np.array([(-half * 0.95, waist), (half * 0.95, waist), (roof, height), (-roof, height)])
    window = cabin * (0.82, 1.0) + np.array([(0, 0.05), (0, 0.05), (0, -0.12), (0, -0.12)])
    parts = [box(side * half * 0.62, 0, side * half * 0.98, 0.35, DARK) for side in (-1, 1)]
    parts += [box(-half, 0.22, half, waist, colour), Part(cabin, shade(colour, 0.9))]
    parts += [Part(window, GLASS), box(-half, 0.22, half, 0.4, shade(colour, 0.7))]
    parts += [
        box(side * half * 0.7, waist * 0.7, side * half, waist * 0.92, lamp) for side in (-1, 1)
    ]
    return [*parts, box(-0.26, 0.42, 0.26, 0.55, (190, 200, 200))]


def _car_side(rng: np.random.Generator, colour: Colour) -> list[Part]:
    half, height = rng.uniform(1.9, 2.3), rng.uniform(1.35, 1.6)
    flip = rng.choice([-1.0, 1.0])
    roof = np.array([(-half * 0.9, 0.75), (half * 0.55, 0.75), (half * 0.2, height)])
    roof = np.concatenate([roof, [(-half * 0.6, height)]]) * (flip, 1.0)
    glass = roof * (0.88, 1.0) + np.array([(0, 0.06), (0, 0.06), (0, -0.1), (0, -0.1)])
    parts = [box(-half, 0.25, half, 0.85, colour), Part(roof, shade(colour, 0.92))]
    parts += [Part(glass, GLASS), box(-0.06, 0.75, 0.06, height, shade(colour, 0.8))]
    return parts + [disc(side * half * 0.62, 0.32, 0.32, DARK) for side in (-1, 1)]


def truck(rng: np.random.Generator) -> list[Part]:
    """A box van, a lorry or a bus, from behind, ahead or (four in ten) from its side."""
    colour, cargo = paint(rng), paint(rng)
    height = rng.uniform(2.2, 3.6)
    if rng.random() < 0.4:
        half, flip = rng.uniform(2.6, 4.2), rng.choice([-1.0, 1.0])
        nose = half * flip
        parts = [box(-nose, 0.6, nose * 0.5, height, cargo)]
        parts += [box(nose * 0.53, 0.45, nose, height * rng.uniform(0.7, 0.95), colour)]
        parts += [box(nose * 0.68, height * 0.45, nose, height * 0.66, GLASS)]
        return parts + [disc(nose * at, 0.45, 0.45, DARK) for at in (-0.75, -0.5, 0.75)]
    half = rng.uniform(1.0, 1.3)
    parts = [box(side * half * 0.55, 0, side * half * 0.95, 0.6, DARK) for side in (-1, 1)]
    parts += [box(-half, 0.55, half, height, cargo)]
    if rng.random() < 0.5:
        parts += [box(-half * 0.88, height * 0.45, half * 0.88, height * 0.8, GLASS)]
    else:
        parts += [box(-0.04, 0.7, 0.04, height * 0.97, shade(cargo, 0.6))]
    lamps = (60.0, 60.0, 200.0)
    parts += [box(side * half * 0.75, 0.62, side * half * 0.98, 0.85, lamps) for side in (-1, 1)]
    return [*parts, box(-half, 0.5, half, 0.6, shade(colour, 0.5))]


def pedestrian(rng: np.random.Generator) -> list[Part]:
    """A person standing or walking, child to tall adult."""
    size = rng.uniform(0.68, 1.08)
    return _person(rng, size, foot_m=0.0, lean_m=0.0, stride_m=rng.uniform(0.02, 0.32))


def _person(
    rng: np.random.Generator, size: float, *, foot_m: float, lean_m: float, stride_m: float
) -> list[Part]:
    top, legs = paint(rng), paint(rng)
    skin = shade((140.0, 175.0, 220.0), rng.uniform(0.35, 1.05))
    hip, neck = foot_m + 0.85 * size, foot_m + 1.45 * size
    width = rng.uniform(0.34, 0.46) * size
    reach = rng.uniform(-0.1, 0.45) * size
    parts = [
        limb(0, hip, side * stride_m, foot_m, 0.17 * size, shade(legs, 0.8 + 0.1 * side))
        for side in (-1, 1)
    ]
    torso = np.array([(-width / 2, hip - 0.05), (width / 2, hip - 0.05)])
    torso = np.concatenate([torso, [(lean_m + width / 2, neck), (lean_m - width / 2, neck)]])
    parts += [Part(torso, top)]
    parts += [
        limb(lean_m + side * width / 2, neck - 0.05, side * reach, hip, 0.11 * size, top)
        for side in (-1, 1)
    ]
    return [*parts, disc(lean_m * 1.2, neck + 0.15 * size, 0.13 * size, skin, squash=0.85)]


def cyclist(rng: np.random.Generator) -> list[Part]:
    """A person on a bicycle, from the side or (half of them) along the road."""
    frame = paint(rng)
    if rng.random() < 0.5:
        rider = _person(rng, rng.uniform(0.8, 0.95), foot_m=0.3, lean_m=0.0, stride_m=0.14)
        bars = box(-0.28, 1.0, 0.28, 1.06, DARK)
        return [disc(0, 0.34, 0.34, DARK, squash=0.22), *rider, bars]
    flip = rng.choice([-1.0, 1.0])
    parts = []
    for side in (-1, 1):
        parts += [
            disc(side * 0.55, 0.34, 0.34, DARK),
            disc(side * 0.55, 0.34, 0.25, (110, 110, 110)),
        ]
    parts += [limb(-0.55, 0.34, 0.4 * flip, 0.9, 0.07, frame)]
    parts += [limb(0.55, 0.34, -0.2 * flip, 0.9, 0.07, frame)]
    return parts + _person(
        rng, rng.uniform(0.78, 0.95), foot_m=0.3, lean_m=0.3 * flip, stride_m=0.15
    )


def clutter(rng: np.random.Generator) -> list[Part]:
    """What is not labelled but resembles what is: posts, bins, kiosks, hydrants, bushes, signs."""
    colour = paint(rng)
    kind = rng.integers(6)
    if kind == 0:
        height = rng.uniform(2.2, 5.0)
        return [box(-0.06, 0, 0.06, height, DARK), disc(0.25, height, 0.2, (150, 200, 210))]
    if kind == 1:
        return [box(-0.3, 0.1, 0.3, 1.1, colour), box(-0.34, 1.05, 0.34, 1.18, shade(colour, 0.6))]
    if kind == 2:
        half, height = rng.uniform(0.9, 1.6), rng.uniform(1.5, 2.8)
        parts = [box(-half, 0, half, height, colour)]
        return [*parts, box(-half * 0.7, height * 0.4, half * 0.7, height * 0.75, GLASS)]
    if kind == 3:
        return [box(-0.14, 0, 0.14, 1.1, colour), disc(0, 1.25, 0.15, shade(colour, 1.3))]
    if kind == 4:
        green = shade((50.0, 95.0, 60.0), rng.uniform(0.5, 1.3))
        return [disc(x, 0.5, rng.uniform(0.4, 0.8), green) for x in (-0.5, 0.0, 0.5)]
    return [box(-0.04, 0, 0.04, 2.0, DARK), disc(0, 2.1, 0.33, colour)]


ROAD_USERS: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    "car": car,
    "truck": truck,
    "pedestrian": pedestrian,
    "cyclist": cyclist,
}
"""Category name to the function that draws one; the order is that of the COCO category ids."""
