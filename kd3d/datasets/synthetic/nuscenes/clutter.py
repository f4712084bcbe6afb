"""What stands beside the roads and is not annotated; much of it looks like something that is."""

import numpy as np

from kd3d.datasets.synthetic.nuscenes.materials import MATERIAL_INDEX
from kd3d.datasets.synthetic.nuscenes.roads import Road
from kd3d.datasets.synthetic.nuscenes.solids import BOX, CONE, CYLINDER, ELLIPSOID, Row
from kd3d.datasets.synthetic.nuscenes.tracks import Pose


def _row(
    kind: int, at: Pose, z_m: tuple[float, float], half_m: tuple[float, float], material: str
) -> Row:
    center = (at.x_m, at.y_m, (z_m[0] + z_m[1]) / 2)
    return kind, center, (*half_m, (z_m[1] - z_m[0]) / 2), at.yaw, MATERIAL_INDEX[material]


def tree(at: Pose, rng: np.random.Generator) -> list[Row]:
    """A trunk and a crown of several clumps of leaves."""
    trunk, height = rng.uniform(0.12, 0.35), rng.uniform(4.5, 9.0)
    rows = [_row(CYLINDER, at, (0.0, 0.6 * height), (trunk, trunk), "bark")]
    for _ in range(4):
        x, y = at.to_global(rng.normal(scale=0.9, size=(1, 2)))[0]
        radius, middle = rng.uniform(0.9, 1.9), height * rng.uniform(0.45, 0.85)
        clump = Pose(float(x), float(y), at.yaw)
        z = (middle - 0.8 * radius, middle + 0.8 * radius)
        rows.append(_row(ELLIPSOID, clump, z, (radius, radius), "foliage"))
    return rows


def bush(at: Pose, rng: np.random.Generator) -> list[Row]:
    """One to three clumps, from knee-high to the size of a person."""
    rows = []
    for _ in range(int(rng.integers(1, 4))):
        x, y = at.to_global(rng.normal(scale=0.25, size=(1, 2)))[0]
        radius, height = rng.uniform(0.25, 0.6), rng.uniform(0.6, 1.9)
        clump = Pose(float(x), float(y), at.yaw)
        rows.append(_row(ELLIPSOID, clump, (0.0, height), (radius, radius * 0.9), "foliage"))
    return rows


def hedge(at: Pose, rng: np.random.Generator) -> list[Row]:
    """A cut hedge along the heading; short ones have a barrier's size."""
    half = (rng.uniform(1.0, 4.0), rng.uniform(0.25, 0.45))
    return [_row(BOX, at, (0.0, rng.uniform(0.7, 1.3)), half, "foliage")]


def pole(at: Pose, rng: np.random.Generator) -> list[Row]:
    """A lamp or sign post, some with a plate."""
    radius, height = rng.uniform(0.04, 0.15), rng.uniform(2.4, 8.0)
    rows = [_row(CYLINDER, at, (0.0, height), (radius, radius), "metal")]
    if rng.random() < 0.5:
        low = rng.uniform(1.9, 2.4)
        plate = Pose(at.x_m, at.y_m, at.yaw + np.pi / 2)
        rows.append(_row(BOX, plate, (low, low + 0.6), (0.35, 0.03), "reflector"))
    return rows


def litter_bin(at: Pose, rng: np.random.Generator) -> list[Row]:
    """A bin as wide as a person, chest-high."""
    radius, height = rng.uniform(0.22, 0.4), rng.uniform(0.8, 1.4)
    kind = CYLINDER if rng.random() < 0.6 else BOX
    return [_row(kind, at, (0.0, height), (radius, radius), "metal")]


def bollard(at: Pose, rng: np.random.Generator) -> list[Row]:
    """A short post, like a cone from afar."""
    radius, height = rng.uniform(0.08, 0.18), rng.uniform(0.6, 1.1)
    kind = CYLINDER if rng.random() < 0.8 else CONE
    return [_row(kind, at, (0.0, height), (radius, radius), "concrete")]


def cabinet(at: Pose, rng: np.random.Generator) -> list[Row]:
    """A box of cables or post, some man-high."""
    half = (rng.uniform(0.25, 0.7), rng.uniform(0.2, 0.35))
    return [_row(BOX, at, (0.0, rng.uniform(1.0, 1.9)), half, "metal")]


def statue(at: Pose, rng: np.random.Generator) -> list[Row]:
    """A post with a rounded top: a person's outline without legs or arms."""
    height, radius = rng.uniform(1.4, 1.9), rng.uniform(0.2, 0.3)
    return [
        _row(CYLINDER, at, (0.0, 0.8 * height), (radius, radius), "concrete"),
        _row(ELLIPSOID, at, (0.75 * height, height), (0.6 * radius, 0.6 * radius), "concrete"),
    ]


def skip(at: Pose, rng: np.random.Generator) -> list[Row]:
    """A container for rubble, of a small car's footprint."""
    half = (rng.uniform(1.4, 2.2), rng.uniform(0.8, 1.0))
    return [_row(BOX, at, (0.1, rng.uniform(1.1, 1.7)), half, "paint_yellow")]


def kiosk(at: Pose, rng: np.random.Generator) -> list[Row]:
    """A hut of a truck's or a van's size, flush with the ground."""
    half, height = (rng.uniform(1.5, 3.2), rng.uniform(1.0, 1.4)), rng.uniform(2.2, 3.0)
    return [
        _row(BOX, at, (0.0, height), half, "concrete"),
        _row(BOX, at, (height, height + 0.15), (half[0] + 0.2, half[1] + 0.2), "metal"),
    ]


SMALL = (tree, bush, pole, litter_bin, bollard, cabinet, statue)
SMALL_SHARES = (0.2, 0.2, 0.22, 0.12, 0.12, 0.09, 0.05)


def kerbside(road: Road, rng: np.random.Generator) -> list[Row]:
    """Posts, trees, bins and bushes along both edges of the pavements."""
    rows: list[Row] = []
    for side in (-1, 1):
        s = float(rng.uniform(0, 5))
        while s < road.path.length_m:
            if road.is_open(s, 1.5):
                at_kerb = rng.random() < 0.5
                left = road.kerb_m + 0.35 if at_kerb else road.edge_m + 0.3
                at = road.path.pose(s, side * left)
                make = SMALL[rng.choice(len(SMALL), p=SMALL_SHARES)]
                rows += make(at, rng)
            s += float(rng.exponential(6.0)) + 1.2
    return rows


def building(at: Pose, length_m: float, depth_m: float, rng: np.random.Generator) -> list[Row]:
    """A block whose front lies along the heading through ``at``, with bays and a door post."""
    height = float(rng.uniform(4, 18))
    material = str(rng.choice(["brick", "concrete", "paint_white"]))
    middle = _beside(at, -depth_m / 2)
    rows = [_row(BOX, middle, (0.0, height), (length_m / 2, depth_m / 2), material)]
    for place in np.arange(-length_m / 2 + 2, length_m / 2 - 1, 4.0):
        if rng.random() < 0.6:
            x, y = at.to_global(np.array([[place, 0.0]]))[0]
            bay = Pose(float(x), float(y), at.yaw)
            rows.append(_row(BOX, bay, (0.0, min(height, 3.0)), (0.7, 0.25), "concrete"))
    return rows


def fence(at: Pose, length_m: float, rng: np.random.Generator) -> list[Row]:
    """A wall, a picket fence or a hedge along the heading."""
    style, height = rng.random(), float(rng.uniform(0.9, 2.2))
    material = "brick" if style < 0.4 else "lattice" if style < 0.75 else "foliage"
    thick = 0.35 if material == "foliage" else 0.1
    return [_row(BOX, at, (0.0, height), (length_m / 2, thick), material)]


def _beside(at: Pose, left_m: float) -> Pose:
    x, y = at.to_global(np.array([[0.0, left_m]]))[0]
    return Pose(float(x), float(y), at.yaw)
