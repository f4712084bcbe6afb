"""Solids of the world as arrays, and where a ray meets one.

Axes x forward, y left, z up. A solid stands upright: it turns about z only. The ground is the
plane z = 0; it is no solid of the arrays.
"""

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.kernels import kernel

BOX, CYLINDER, ELLIPSOID, CONE = range(4)
GROUND, SKY = -1, -2  # in place of a solid's index, what a ray meets

Hit = tuple[float, float, float, float]
NO_HIT = (inf, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Solids:
    """N solids.

    Attributes:
        kind: (N,) int8: BOX, CYLINDER (upright, elliptic), ELLIPSOID or CONE (apex up).
        center: (N, 3) float64, middle of the solid's box, metres.
        half: (N, 3) float64, half extents along its own axes, metres.
        yaw: (N,) float64, radians about z.
        material: (N,) int8, index in ``materials.MATERIALS``.
        owner: (N,) int32, index in ``Scene.actors``, -1 for what belongs to no actor.
    """

    kind: NDArray[np.int8]
    center: NDArray[np.float64]
    half: NDArray[np.float64]
    yaw: NDArray[np.float64]
    material: NDArray[np.int8]
    owner: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> "Solids":
        """The solids that an index array, a mask or a slice chooses."""
        return Solids(
            self.kind[which],
            self.center[which],
            self.half[which],
            self.yaw[which],
            self.material[which],
            self.owner[which],
        )

    def moved(self, x_m: float, y_m: float, yaw: float, owner: int) -> "Solids":
        """The solids turned about the origin by ``yaw``, then shifted; all owned by ``owner``."""
        cos, sin = np.cos(yaw), np.sin(yaw)
        x, y, z = self.center.T
        center = np.stack([cos * x - sin * y + x_m, sin * x + cos * y + y_m, z], axis=1)
        owners = np.full(len(self), owner, dtype=np.int32)
        return Solids(self.kind, center, self.half, self.yaw + yaw, self.material, owners)

    @classmethod
    def joined(cls, parts: "list[Solids]") -> "Solids":
        """All solids of the parts, in their order."""
        parts = parts or [cls.of([])]
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("kind", "center", "half", "yaw", "material", "owner")
            )
        )

    @classmethod
    def of(cls, rows: "list[Row]") -> "Solids":
        """Solids from rows ``(kind, center xyz, half xyz, yaw, material index)``, without owner."""
        return cls(
            kind=np.array([row[0] for row in rows], dtype=np.int8),
            center=np.array([row[1] for row in rows], dtype=np.float64).reshape(-1, 3),
            half=np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 3),
            yaw=np.array([row[3] for row in rows], dtype=np.float64),
            material=np.array([row[4] for row in rows], dtype=np.int8),
            owner=np.full(len(rows), -1, dtype=np.int32),
        )


Vector = tuple[float, float, float]
Row = tuple[int, Vector, Vector, float, int]


@kernel
def hit_local(
    kind: int, hx: float, hy: float, hz: float,
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float,
) -> Hit:  # fmt: skip
    """Where a ray enters a solid, both in the solid's own axes about its centre.

    Args:
        kind: BOX, CYLINDER, ELLIPSOID or CONE.
        hx: half extents, positive: along x,
        hy: y
        hz: and z.
        ox: the ray's origin: x,
        oy: y
        oz: and z.
        dx: its direction, of unit length so that the answer is a range: x,
        dy: y
        dz: and z.

    Returns:
        Range and the outward normal; ``(inf, 0, 0, 0)`` if the ray misses or starts inside.
    """
    if kind == BOX:
        return _hit_box(hx, hy, hz, ox, oy, oz, dx, dy, dz)
    # The others are round: in units of the half extents they are a unit sphere, cylinder or cone,
    # and the ray's parameter stays the range.
    ux, uy, uz = ox / hx, oy / hy, oz / hz
    vx, vy, vz = dx / hx, dy / hy, dz / hz
    if kind == ELLIPSOID:
        t, nx, ny, nz = _hit_sphere(ux, uy, uz, vx, vy, vz)
    elif kind == CYLINDER:
        t, nx, ny, nz = _hit_cylinder(ux, uy, uz, vx, vy, vz)
    else:
        t, nx, ny, nz = _hit_cone(ux, uy, uz, vx, vy, vz)
    if t == inf:
        return NO_HIT
    nx, ny, nz = nx / hx, ny / hy, nz / hz
    length = (nx * nx + ny * ny + nz * nz) ** 0.5
    return t, nx / length, ny / length, nz / length


@kernel
def _hit_box(
    hx: float, hy: float, hz: float,
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float,
) -> Hit:  # fmt: skip
    near, far = -inf, inf
    nx = ny = nz = 0.0
    for axis in range(3):
        if axis == 0:
            half, o, d = hx, ox, dx
        elif axis == 1:
            half, o, d = hy, oy, dy
        else:
            half, o, d = hz, oz, dz
        if d == 0.0:
            if abs(o) > half:
                return NO_HIT
            continue
        side = -1.0 if d > 0.0 else 1.0  # the face the ray comes in by
        first, last = (side * half - o) / d, (-side * half - o) / d
        if first > near:
            near = first
            nx = side if axis == 0 else 0.0
            ny = side if axis == 1 else 0.0
            nz = side if axis == 2 else 0.0
        far = min(far, last)
    if near > far or near <= 0.0:
        return NO_HIT
    return near, nx, ny, nz


@kernel
def _hit_sphere(ux: float, uy: float, uz: float, vx: float, vy: float, vz: float) -> Hit:
    a = vx * vx + vy * vy + vz * vz
    b = ux * vx + uy * vy + uz * vz
    c = ux * ux + uy * uy + uz * uz - 1.0
    root = b * b - a * c
    if root <= 0.0 or c <= 0.0:
        return NO_HIT
    t = (-b - root**0.5) / a
    if t <= 0.0:
        return NO_HIT
    return t, ux + t * vx, uy + t * vy, uz + t * vz


@kernel
def _hit_cylinder(ux: float, uy: float, uz: float, vx: float, vy: float, vz: float) -> Hit:
    if abs(uz) > 1.0 and vz != 0.0:  # comes from above or below: the cap
        cap = 1.0 if uz > 0.0 else -1.0
        t = (cap - uz) / vz
        x, y = ux + t * vx, uy + t * vy
        if t > 0.0 and x * x + y * y <= 1.0:
            return t, 0.0, 0.0, cap
    a = vx * vx + vy * vy
    b = ux * vx + uy * vy
    c = ux * ux + uy * uy - 1.0
    root = b * b - a * c
    if a == 0.0 or root <= 0.0 or c <= 0.0:
        return NO_HIT
    t = (-b - root**0.5) / a
    if t <= 0.0 or abs(uz + t * vz) > 1.0:
        return NO_HIT
    return t, ux + t * vx, uy + t * vy, 0.0


@kernel
def _hit_cone(ux: float, uy: float, uz: float, vx: float, vy: float, vz: float) -> Hit:
    if uz < -1.0 and vz > 0.0:  # comes from below: the base
        t = (-1.0 - uz) / vz
        x, y = ux + t * vx, uy + t * vy
        if x * x + y * y <= 1.0:
            return t, 0.0, 0.0, -1.0
    # Radius (1 - z) / 2 at height z: x^2 + y^2 = w^2 with w = (1 - z) / 2.
    w, k = (1.0 - uz) / 2.0, -vz / 2.0
    a = vx * vx + vy * vy - k * k
    b = ux * vx + uy * vy - w * k
    c = ux * ux + uy * uy - w * w
    root = b * b - a * c
    if root <= 0.0 or a == 0.0:
        return NO_HIT
    root = root**0.5
    first, second = (-b - root) / a, (-b + root) / a
    for t in (min(first, second), max(first, second)):
        z = uz + t * vz
        if t > 0.0 and -1.0 <= z <= 1.0:
            x, y, slope = ux + t * vx, uy + t * vy, (1.0 - z) / 4.0
            entering = x * vx + y * vy + slope * vz < 0.0
            if entering:
                return t, x, y, slope
    return NO_HIT
