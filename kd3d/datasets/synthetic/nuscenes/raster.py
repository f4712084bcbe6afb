"""Which solid each pixel of a camera sees, by casting the pixel's ray against few solids.

A solid is tried only within the pixel rectangle around its box. Solids come in order of distance,
all those of an actor one after the other, so that the same pass also counts the pixels that an
actor would cover if nothing stood before it.
"""

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.cameras import Camera
from kd3d.datasets.synthetic.nuscenes.kernels import kernel
from kd3d.datasets.synthetic.nuscenes.painting import Painting
from kd3d.datasets.synthetic.nuscenes.solids import GROUND, SKY, Solids, hit_local
from kd3d.datasets.synthetic.nuscenes.textures import LATTICE, LEAVES, is_hole

Array = NDArray[np.float64]
Indices = NDArray[np.int32]

NEAR_M = 0.1
SAME_M = 1e-4  # faces that lie in one plane: the solid that comes first shows
_SIGNS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
_EDGES = np.array([(a, b) for a in range(8) for b in range(a) if (a ^ b) in (1, 2, 4)])


@dataclass(frozen=True)
class View:
    """A camera at one instant, at the resolution of the raster.

    Attributes:
        origin_m: (3,) lens, global frame.
        rotation: (3, 3), global from camera.
        intrinsic: (3, 3), pixels of the raster.
        size_px: columns and rows of the raster.
    """

    origin_m: Array
    rotation: Array
    intrinsic: Array
    size_px: tuple[int, int]

    @classmethod
    def of(
        cls, camera: Camera, global_from_ego: Array, size_px: tuple[int, int], scale: int
    ) -> "View":
        """The camera on a car, one raster pixel for every ``scale`` x ``scale`` image pixels.

        Args:
            camera: lens and mount.
            global_from_ego: (4, 4) pose of the car.
            size_px: width and height of the image, multiples of ``scale``.
            scale: 1 for the full image.
        """
        rotation, shift = global_from_ego[:3, :3], global_from_ego[:3, 3]
        intrinsic = camera.intrinsic / scale
        # Pixel centres are whole numbers: the first raster pixel lies at (scale - 1) / 2.
        intrinsic[:2, 2] -= (scale - 1) / (2 * scale)
        intrinsic[2, 2] = 1.0
        return cls(
            rotation @ np.array(camera.ego_from_cam_m) + shift,
            rotation @ camera.rotation,
            intrinsic,
            (size_px[0] // scale, size_px[1] // scale),
        )


@dataclass(frozen=True)
class Raster:
    """What a view sees.

    Attributes:
        index: (H, W) int32, index of the solid, or GROUND, or SKY.
        depth_m: (H, W) float32 along the camera's z axis, infinite for the sky.
        alone_px: (number of actors,) pixels each would cover if nothing stood before it.
    """

    index: Indices
    depth_m: NDArray[np.float32]
    alone_px: NDArray[np.int64]


def rasterise(solids: Solids, painting: Painting, view: View, actors: int) -> Raster:
    """Casts every pixel's ray.

    Args:
        solids: in the global frame, the ground being z = 0.
        painting: of these solids; leaves and lattices have holes.
        view: the camera.
        actors: number of actors; owners are below it.
    """
    W, H = view.size_px
    index = np.full((H, W), SKY, dtype=np.int32)
    depth = np.full((H, W), inf, dtype=np.float32)
    alone = np.zeros(actors, dtype=np.int64)
    rectangles = rectangles_px(solids, view)
    order = _near_to_far(solids, view.origin_m)
    order = order[(rectangles[order, 0] < rectangles[order, 2])]
    rays = view.rotation @ np.linalg.inv(view.intrinsic)  # (column, row, 1) to depth 1
    _lay_ground(index, depth, view.origin_m, rays)
    _draw(
        solids.kind, solids.center, solids.half, solids.yaw, solids.owner,
        painting.texture, painting.seed, order, rectangles, view.origin_m, rays,
        index, depth, alone,
    )  # fmt: skip
    return Raster(index, depth, alone)


def rectangles_px(solids: Solids, view: View) -> Indices:
    """(N, 4) first column and row, and those after the last, of what each solid may cover.

    The part of a solid's box that lies before the camera is projected; a solid behind it, or
    outside of the image, has an empty rectangle.
    """
    corners = _corners_cam_m(solids, view)  # (N, 8, 3)
    a, b = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (NEAR_M - a[..., 2:]) / (b[..., 2:] - a[..., 2:])
        crossing = a + share * (b - a)
    crosses = (a[..., 2] < NEAR_M) != (b[..., 2] < NEAR_M)
    points = np.concatenate([corners, crossing], axis=1)  # (N, 20, 3)
    valid = np.concatenate([corners[..., 2] >= NEAR_M, crosses], axis=1)[..., None]
    pixels = np.where(valid, points, 1.0) @ view.intrinsic.T
    pixels = pixels[..., :2] / pixels[..., 2:]
    size = np.array(view.size_px)
    low = np.where(valid, pixels, inf).min(axis=1)
    high = np.where(valid, pixels, -inf).max(axis=1)
    first = np.clip(np.ceil(np.clip(low, -1, size)), 0, size)
    last = np.clip(np.floor(np.clip(high, -1, size)) + 1, first, size)
    empty = (last <= first).any(axis=1, keepdims=True)
    last = np.where(empty, first, last)
    rectangles: Indices = np.concatenate([first, last], axis=1).astype(np.int32)
    return rectangles


def _corners_cam_m(solids: Solids, view: View) -> Array:
    local = _SIGNS * solids.half[:, None, :]
    cos, sin = np.cos(solids.yaw)[:, None], np.sin(solids.yaw)[:, None]
    x, y, z = local[..., 0], local[..., 1], local[..., 2]
    turned = np.stack([cos * x - sin * y, sin * x + cos * y, z], axis=-1)
    corners: Array = (turned + solids.center[:, None, :] - view.origin_m) @ view.rotation
    return corners


def _near_to_far(solids: Solids, origin_m: Array) -> NDArray[np.int64]:
    """Indices by distance, the solids of one actor together at its nearest one's place."""
    distance = np.linalg.norm(solids.center - origin_m, axis=1)
    owned = solids.owner >= 0
    nearest = np.full(int(solids.owner.max(initial=-1)) + 1, inf)
    np.minimum.at(nearest, solids.owner[owned], distance[owned])
    distance[owned] = nearest[solids.owner[owned]]
    order: NDArray[np.int64] = np.lexsort((solids.owner, distance))
    return order


@kernel
def _lay_ground(
    index: Indices, depth: NDArray[np.float32], origin: Array, rays: Array
) -> None:  # fmt: skip
    H, W = index.shape
    for row in range(H):
        for column in range(W):
            down = -(rays[2, 0] * column + rays[2, 1] * row + rays[2, 2])
            if down > 1e-9:
                index[row, column] = GROUND
                depth[row, column] = origin[2] / down


@kernel
def _draw(
    kind: NDArray[np.int8], center: Array, half: Array, yaw: Array, owner: Indices,
    texture: NDArray[np.int8], seed: NDArray[np.int64],
    order: NDArray[np.int64], rectangles: Indices, origin: Array, rays: Array,
    index: Indices, depth: NDArray[np.float32], alone: NDArray[np.int64],
) -> None:  # fmt: skip
    """Fills ``index``, ``depth`` and ``alone``."""
    ground_or_sky = depth.copy()
    stamp = np.full(index.shape, -1, dtype=np.int32)
    pixel = (rays[0, 0] ** 2 + rays[1, 0] ** 2 + rays[2, 0] ** 2) ** 0.5  # at depth 1
    for place in order:
        cos, sin = np.cos(yaw[place]), np.sin(yaw[place])
        rx, ry = origin[0] - center[place, 0], origin[1] - center[place, 1]
        ox, oy, oz = cos * rx + sin * ry, cos * ry - sin * rx, origin[2] - center[place, 2]
        hx, hy, hz = half[place, 0], half[place, 1], half[place, 2]
        # The three columns of the ray matrix in the solid's axes.
        ax, ay = cos * rays[0, 0] + sin * rays[1, 0], cos * rays[1, 0] - sin * rays[0, 0]
        bx, by = cos * rays[0, 1] + sin * rays[1, 1], cos * rays[1, 1] - sin * rays[0, 1]
        cx, cy = cos * rays[0, 2] + sin * rays[1, 2], cos * rays[1, 2] - sin * rays[0, 2]
        mine, holed = owner[place], texture[place] == LEAVES or texture[place] == LATTICE
        for row in range(rectangles[place, 1], rectangles[place, 3]):
            for column in range(rectangles[place, 0], rectangles[place, 2]):
                dx, dy = ax * column + bx * row + cx, ay * column + by * row + cy
                dz = rays[2, 0] * column + rays[2, 1] * row + rays[2, 2]
                t, nx, ny, nz = hit_local(kind[place], hx, hy, hz, ox, oy, oz, dx, dy, dz)
                limit = (ground_or_sky if mine >= 0 else depth)[row, column] - SAME_M
                if t < NEAR_M or t >= limit:
                    continue
                if holed:
                    facing = -(nx * dx + ny * dy + nz * dz) / (dx * dx + dy * dy + dz * dz) ** 0.5
                    x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
                    if is_hole(
                        texture[place], seed[place], kind[place],
                        x, y, z, hx, hy, hz, facing, t * pixel,
                    ):  # fmt: skip
                        continue
                if mine >= 0 and stamp[row, column] != mine:
                    stamp[row, column] = mine
                    alone[mine] += 1
                if t < depth[row, column] - SAME_M:
                    depth[row, column] = t
                    index[row, column] = place
