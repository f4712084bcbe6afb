"""The shapes of annotated objects, as solids about the middle of the foot, heading along x."""

from collections.abc import Callable

import numpy as np

from kd3d.datasets.synthetic.nuscenes.materials import MATERIAL_INDEX
from kd3d.datasets.synthetic.nuscenes.solids import BOX, CONE, CYLINDER, ELLIPSOID, Row, Solids

PAINTS = ("paint_white", "paint_silver", "paint_black", "paint_red", "paint_blue")
PAINT_SHARES = (0.27, 0.27, 0.24, 0.1, 0.12)
CLOTHES = ("cloth_dark", "cloth_light")


class Builder:
    """Collects the solids of one object of given size; places are shares of that size.

    Along x and y a place runs from -1 (rear, right) to 1 (front, left), along z from 0 to 1.
    """

    def __init__(self, length_m: float, width_m: float, height_m: float) -> None:
        self.size_m = (length_m, width_m, height_m)
        self.rows: list[Row] = []

    def add(
        self,
        kind: int,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        material: str,
    ) -> None:
        """Adds a solid that fills the given intervals."""
        length, width, height = self.size_m
        lows = (x[0] * length / 2, y[0] * width / 2, z[0] * height)
        highs = (x[1] * length / 2, y[1] * width / 2, z[1] * height)
        middle = tuple((low + high) / 2 for low, high in zip(lows, highs, strict=True))
        half = tuple((high - low) / 2 for low, high in zip(lows, highs, strict=True))
        self.rows.append(
            (
                kind,
                (middle[0], middle[1], middle[2]),
                (half[0], half[1], half[2]),
                0.0,
                MATERIAL_INDEX[material],
            )
        )

    def box(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        material: str,
    ) -> None:
        """Adds a box."""
        self.add(BOX, x, y, z, material)

    def wheels(self, places: tuple[float, ...], radius_m: float) -> None:
        """Adds a pair of wheels, flat ellipsoids, at each place along x."""
        length, width, height = self.size_m
        reach, top = 2 * radius_m / length, 2 * radius_m / height
        thick = 0.5 / width
        for place in places:
            for y in ((-0.99, -0.99 + thick), (0.99 - thick, 0.99)):
                self.add(ELLIPSOID, (place - reach, place + reach), y, (0.0, top), "rubber")


def paint(rng: np.random.Generator) -> str:
    """A vehicle's colour, by how common it is."""
    return PAINTS[rng.choice(len(PAINTS), p=PAINT_SHARES)]


def car(b: Builder, rng: np.random.Generator) -> None:
    """Body, cabin with windows and roof, wheels; from saloon to van."""
    colour, length = paint(rng), b.size_m[0]
    tall = b.size_m[2] > 1.8
    waist = rng.uniform(0.48, 0.56)
    hood = rng.uniform(0.5, 0.62) if tall else rng.uniform(0.32, 0.48)
    boot = -0.98 if tall else rng.choice([-0.92, -0.62])
    b.box((-1, 1), (-0.93, 0.93), (0.13, waist * 0.9), colour)
    b.box((-0.97, hood + 0.1), (-0.95, 0.95), (0.2, waist + 0.04), colour)
    b.box((boot, hood), (-0.8, 0.8), (waist, 0.96), "glass")
    b.box((boot + 0.08, hood - 0.2), (-0.82, 0.82), (0.93, 1.0), colour)
    b.box((boot, boot + 0.1), (-0.8, 0.8), (waist, 0.93), colour)
    b.box((-0.05, 0.0), (-0.81, 0.81), (waist, 0.95), colour)
    b.box((0.2, 0.24), (-1.0, 1.0), (waist, waist + 0.08), colour)
    b.box((-0.3, 0.3), (-0.7, 0.7), (0.15, 0.75), "cloth_dark")
    b.wheels((-0.58, 0.62), 0.07 * length)


def truck(b: Builder, rng: np.random.Generator) -> None:
    """Cab in front of a cargo box, a flatbed or, where small, a pickup's bed."""
    colour, length = paint(rng), b.size_m[0]
    cab = 1 - rng.uniform(0.42, 0.6)
    high = rng.uniform(0.75, 0.95)
    b.box((cab, 1), (-0.88, 0.88), (0.15, 0.5 * high), colour)
    b.box((cab, 0.97), (-0.85, 0.85), (0.5 * high, high), "glass" if rng.random() < 0.4 else colour)
    b.box((cab, 0.7 * cab + 0.3), (-0.85, 0.85), (high - 0.06, high), colour)
    b.box((cab + 0.15, cab + 0.18), (-1.0, 1.0), (0.45, 0.6), "metal")
    b.box((-1, cab), (-0.5, 0.5), (0.16, 0.25), "metal")
    if rng.random() < 0.65:
        b.box((-1, cab - 0.04), (-1, 1), (0.28, 1.0), paint(rng))
    else:
        b.box((-1, cab - 0.04), (-1, 1), (0.26, 0.45), "metal")
        b.box((-0.9, rng.uniform(-0.5, cab - 0.1)), (-0.8, 0.8), (0.45, 1.0), "concrete")
    b.wheels((-0.75, -0.5, cab + 0.25), min(0.5, 0.07 * length))


def bus(b: Builder, rng: np.random.Generator) -> None:
    """A long body with a band of windows."""
    colour = str(rng.choice(["paint_white", "paint_red", "paint_blue", "paint_yellow"]))
    b.box((-1, 1), (-0.94, 0.94), (0.1, 0.42), colour)
    b.box((-0.99, 0.99), (-0.92, 0.92), (0.42, 0.75), "glass")
    b.box((-0.6, 0.85), (-0.5, 0.5), (0.3, 0.6), "cloth_dark")
    b.box((-1, 1), (-0.94, 0.94), (0.75, 0.94), colour)
    b.box((-0.6, 0.1), (-0.6, 0.6), (0.94, 1.0), colour)
    b.box((0.95, 0.98), (-1.0, 1.0), (0.6, 0.72), "metal")
    b.wheels((-0.55, 0.65), 0.5)


def trailer(b: Builder, rng: np.random.Generator) -> None:
    """A cargo box or container on a frame, wheels at the rear, nothing below its front."""
    b.box((-1, 1), (-0.6, 0.6), (0.22, 0.3), "metal")
    low = rng.uniform(0.3, 0.36)
    if rng.random() < 0.75:
        material = str(rng.choice(["paint_white", "paint_silver", "paint_blue", "paint_red"]))
        b.box((-1, 1), (-1, 1), (low, 1.0), material)
    else:
        b.box((-1, 1), (-1, 1), (low, low + 0.06), "metal")
        for place in (-0.7, 0.0, 0.6):
            load = (place, place + rng.uniform(0.25, 0.4))
            b.box(load, (-0.85, 0.85), (low + 0.06, rng.uniform(0.75, 1.0)), "concrete")
        b.box((0.94, 1.0), (-0.95, 0.95), (low, 1.0), "metal")
    b.wheels((-0.82, -0.66, -0.5), 0.5)
    b.box((0.5, 0.55), (-0.6, -0.4), (0.0, 0.25), "metal")
    b.box((0.5, 0.55), (0.4, 0.6), (0.0, 0.25), "metal")


def construction_vehicle(b: Builder, rng: np.random.Generator) -> None:
    """Tracks, a body with a cab beside, and an arm that rises in front and comes down."""
    b.box((-0.95, 0.35), (-0.95, -0.6), (0.0, 0.24), "rubber")
    b.box((-0.95, 0.35), (0.6, 0.95), (0.0, 0.24), "rubber")
    b.box((-1.0, 0.25), (-0.85, 0.85), (0.28, 0.6), "paint_yellow")
    b.box((-0.35, 0.2), (0.05, 0.8), (0.6, 0.95), "glass")
    b.box((-0.35, 0.2), (0.05, 0.8), (0.92, 0.97), "paint_yellow")
    elbow = rng.uniform(0.45, 0.7)
    steps = 7
    for step in range(steps):
        share = step / steps
        x = 0.1 + share * (elbow - 0.1)
        z = 0.5 + share * 0.42
        b.box((x, x + 0.14), (-0.35, -0.08), (z, z + 0.08), "paint_yellow")
    for step in range(steps):
        share = step / steps
        x = elbow + share * (0.86 - elbow)
        z = 0.92 - share * 0.7
        b.box((x, x + 0.1), (-0.32, -0.1), (z, min(z + 0.12, 1.0)), "paint_yellow")
    b.box((0.78, 1.0), (-0.55, 0.1), (0.02, 0.26), "metal")


def _rider(b: Builder, low: float) -> None:
    """Hips to head of somebody who sits, from the height ``low`` to the top."""
    rest = 1 - low
    b.add(ELLIPSOID, (-0.35, 0.1), (-0.8, 0.8), (low, low + 0.68 * rest), "cloth_dark")
    b.add(ELLIPSOID, (-0.2, 0.08), (-0.36, 0.36), (low + 0.68 * rest, 1.0), "skin")
    b.box((-0.1, 0.5), (-0.85, -0.6), (low + 0.35 * rest, low + 0.5 * rest), "cloth_light")
    b.box((-0.1, 0.5), (0.6, 0.85), (low + 0.35 * rest, low + 0.5 * rest), "cloth_light")
    b.add(CYLINDER, (-0.1, 0.1), (-0.6, -0.3), (0.12, low + 0.1), "cloth_dark")
    b.add(CYLINDER, (-0.1, 0.1), (0.3, 0.6), (0.12, low + 0.1), "cloth_dark")


def _cycle(b: Builder, wheel_m: float, thick: float, top: float, material: str) -> None:
    """Wheels and handlebar; ``top`` is the saddle's height as a share."""
    length, _, height = b.size_m
    reach, high = 2 * wheel_m / length, 2 * wheel_m / height
    for place in (-1 + reach, 1 - reach):
        wheel = (place - reach, place + reach)
        b.add(
            ELLIPSOID, wheel, (-thick, thick), (0.0, high), "lattice" if thick < 0.2 else "rubber"
        )
    b.box((0.38, 0.46), (-0.98, 0.98), (top, top + 0.06), "metal")
    b.box((0.4, 0.48), (-thick, thick), (0.4 * top, top), "metal")
    b.box((-0.45, -0.1), (-2 * thick, 2 * thick), (top - 0.08, top), material)


def motorcycle(b: Builder, rng: np.random.Generator, ridden: bool) -> None:
    """A solid body between two wheels, ridden or not."""
    top = 0.55 if ridden else 0.9
    colour = paint(rng)
    _cycle(b, 0.31, 0.22, top, "rubber")
    b.add(ELLIPSOID, (-0.75, 0.6), (-0.42, 0.42), (0.15, top), colour)
    b.box((-0.35, 0.3), (-0.5, 0.5), (0.12, 0.3 if ridden else 0.5), "metal")
    if ridden:
        _rider(b, 0.48)
    else:
        b.box((0.5, 0.55), (-0.5, 0.5), (0.75, 1.0), "glass")


def bicycle(b: Builder, rng: np.random.Generator, ridden: bool) -> None:
    """A thin frame between two wheels, ridden or not."""
    top = 0.55 if ridden else 0.92
    _cycle(b, 0.34, 0.1, top, "cloth_dark")
    b.box((-0.35, 0.4), (-0.1, 0.1), (0.75 * top, 0.85 * top), paint(rng))
    b.box((-0.3, -0.2), (-0.1, 0.1), (0.3 * top, top), "metal")
    b.box((-0.1, 0.1), (-0.3, 0.3), (0.2 * top, 0.35 * top), "metal")
    if ridden:
        _rider(b, 0.5)


def pedestrian(b: Builder, rng: np.random.Generator, vest: bool = False) -> None:
    """Legs apart by a step, torso, arms and head."""
    step = rng.uniform(0.3, 0.68)
    coat = "hi_vis" if vest else CLOTHES[int(rng.integers(2))]
    b.add(CYLINDER, (step - 0.3, step + 0.3), (0.12, 0.5), (0.0, 0.48), "cloth_dark")
    b.add(CYLINDER, (-step - 0.3, -step + 0.3), (-0.5, -0.12), (0.0, 0.48), "cloth_dark")
    b.add(ELLIPSOID, (-0.5, 0.5), (-0.72, 0.72), (0.4, 0.88), coat)
    b.add(CYLINDER, (-step - 0.2, -step + 0.2), (0.68, 0.98), (0.45, 0.8), coat)
    b.add(CYLINDER, (step - 0.2, step + 0.2), (-0.98, -0.68), (0.45, 0.8), coat)
    b.add(ELLIPSOID, (-0.28, 0.3), (-0.3, 0.3), (0.85, 1.0), "skin")


def traffic_cone(b: Builder, rng: np.random.Generator) -> None:
    """A cone with a bright band on a flat foot; some are slim posts."""
    b.box((-1, 1), (-1, 1), (0.0, 0.06), "rubber")
    if rng.random() < 0.75:
        b.add(CONE, (-0.85, 0.85), (-0.85, 0.85), (0.05, 1.0), "plastic_orange")
        b.add(CYLINDER, (-0.38, 0.38), (-0.38, 0.38), (0.55, 0.7), "reflector")
    else:
        b.add(CYLINDER, (-0.35, 0.35), (-0.35, 0.35), (0.05, 1.0), "plastic_orange")
        b.add(CYLINDER, (-0.37, 0.37), (-0.37, 0.37), (0.6, 0.75), "reflector")


def barrier(b: Builder, rng: np.random.Generator) -> None:
    """Concrete with a wide foot, plastic, or a board on two legs; its long side is y."""
    style = rng.random()
    if style < 0.6:
        material = "concrete" if style < 0.35 else "plastic_orange"
        b.box((-1, 1), (-1, 1), (0.0, 0.28), material)
        b.box((-0.6, 0.6), (-1, 1), (0.28, 0.55), material)
        b.box((-0.35, 0.35), (-1, 1), (0.55, 1.0), material)
    else:
        b.box((-0.2, 0.2), (-1, 1), (0.68, 1.0), "reflector")
        b.box((-0.2, 0.2), (-1, 1), (0.3, 0.5), "paint_white")
        b.box((-1, 1), (-0.8, -0.7), (0.0, 0.7), "metal")
        b.box((-1, 1), (0.7, 0.8), (0.0, 0.7), "metal")


def debris(b: Builder, rng: np.random.Generator) -> None:
    """A bag or a box that lies about."""
    kind = ELLIPSOID if rng.random() < 0.5 else BOX
    b.add(kind, (-1, 1), (-1, 1), (0.0, 1.0), "cloth_dark")


def trolley(b: Builder, rng: np.random.Generator) -> None:
    """A bin on wheels or a cart."""
    b.box((-0.9, 0.9), (-0.95, 0.95), (0.1, 0.9), "paint_blue" if rng.random() < 0.5 else "lattice")
    b.box((-1.0, -0.9), (-0.9, 0.9), (0.85, 1.0), "metal")
    b.box((-0.8, 0.8), (-0.8, -0.6), (0.0, 0.1), "rubber")
    b.box((-0.8, 0.8), (0.6, 0.8), (0.0, 0.1), "rubber")


def bicycle_rack(length_m: float, width_m: float, height_m: float) -> Solids:
    """Hoops in a row along x."""
    b = Builder(length_m, width_m, height_m)
    hoops = max(int(length_m / 0.8), 2)
    for place in np.linspace(-0.95, 0.95, hoops):
        reach = 0.06 / length_m
        b.box((place - reach, place + reach), (-0.5, -0.42), (0.0, 0.7), "metal")
        b.box((place - reach, place + reach), (0.42, 0.5), (0.0, 0.7), "metal")
        b.box((place - reach, place + reach), (-0.5, 0.5), (0.65, 0.7), "metal")
    return Solids.of(b.rows)


SHAPES: dict[str, Callable[[Builder, np.random.Generator], None]] = {
    "vehicle.car": car,
    "vehicle.truck": truck,
    "vehicle.bus.rigid": bus,
    "vehicle.trailer": trailer,
    "vehicle.construction": construction_vehicle,
    "human.pedestrian.adult": pedestrian,
    "human.pedestrian.child": pedestrian,
    "human.pedestrian.police_officer": pedestrian,
    "human.pedestrian.construction_worker": lambda b, rng: pedestrian(b, rng, vest=True),
    "movable_object.trafficcone": traffic_cone,
    "movable_object.barrier": barrier,
    "movable_object.debris": debris,
    "movable_object.pushable_pullable": trolley,
}


def shape_of(
    category: str, size_m: tuple[float, float, float], rng: np.random.Generator, ridden: bool
) -> Solids:
    """The solids of an object.

    Args:
        category: one of ``catalogue.SIZES``.
        size_m: length, width and height; the shape lies within that box and nearly fills it.
        rng: of colours and variants.
        ridden: for bicycles and motorcycles, whether somebody sits on it.
    """
    if category == "static_object.bicycle_rack":
        return bicycle_rack(*size_m)
    b = Builder(*size_m)
    if category == "vehicle.motorcycle":
        motorcycle(b, rng, ridden)
    elif category == "vehicle.bicycle":
        bicycle(b, rng, ridden)
    else:
        SHAPES[category](b, rng)
    return Solids.of(b.rows)
