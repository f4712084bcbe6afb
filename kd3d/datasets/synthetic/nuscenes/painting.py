"""Which texture and which colour each solid of a scene has, the same at all times."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes import textures
from kd3d.datasets.synthetic.nuscenes.kernels import kernel
from kd3d.datasets.synthetic.nuscenes.materials import MATERIAL_INDEX, MATERIALS
from kd3d.datasets.synthetic.nuscenes.noise import hash_of
from kd3d.datasets.synthetic.nuscenes.scene import Actor, Scene
from kd3d.datasets.synthetic.nuscenes.solids import BOX, ELLIPSOID, Solids

Array = NDArray[np.float64]

WALL_M = 5.0  # a wall this high has windows
_BY_MATERIAL = {
    "glass": textures.GLASS,
    "foliage": textures.LEAVES,
    "lattice": textures.LATTICE,
    "cloth_dark": textures.CLOTH,
    "cloth_light": textures.CLOTH,
}
_DYES = np.array(
    [
        (0.03, 0.03, 0.04),
        (0.03, 0.05, 0.13),
        (0.10, 0.10, 0.11),
        (0.30, 0.05, 0.05),
        (0.09, 0.14, 0.07),
        (0.45, 0.42, 0.36),
        (0.22, 0.14, 0.08),
        (0.55, 0.55, 0.56),
    ]
)
_TEXTURE = np.array([_BY_MATERIAL.get(m.name, textures.PLAIN) for m in MATERIALS], dtype=np.int8)
_IS_PAINT = np.array([m.name.startswith("paint") for m in MATERIALS])
_IS_CLOTH = np.array([m.name.startswith("cloth") for m in MATERIALS])
_IS_NATURAL = np.array([m.name in ("concrete", "brick", "foliage") for m in MATERIALS])
_IS_WALL = np.array([m.name in ("concrete", "brick", "paint_white") for m in MATERIALS])
LINEAR_RGB = (np.array([material.rgb for material in MATERIALS]) / 255.0) ** 2


@dataclass(frozen=True)
class Painting:
    """Of N solids, in the order of ``Scene.solids``.

    Attributes:
        texture: (N,) int8, one of ``textures``.
        colour: (N, 3) linear red, green, blue in [0, 1].
        seed: (N,) int64, of each solid's own noise.
    """

    texture: NDArray[np.int8]
    colour: Array
    seed: NDArray[np.int64]


def painting_of(scene: Scene, seed: int) -> Painting:
    """The painting of a scene; ``seed`` decides the shades of cloth, walls and leaves."""
    parts = [scene.fixtures, *(actor.parts for actor in scene.actors)]
    texture = [_of_material(scene.fixtures), *(_of_parts(actor) for actor in scene.actors)]
    places = np.arange(sum(len(part) for part in parts))
    seeds = (2**30 * _draws(seed + 17 * places, np.zeros(len(places), np.int8))[:, 0]).astype(int)
    colour = [_colours(part, seed, owner - 1) for owner, part in enumerate(parts)]
    return Painting(np.concatenate(texture), np.concatenate(colour), seeds)


def _of_material(solids: Solids) -> NDArray[np.int8]:
    texture = _TEXTURE[solids.material]
    texture[
        _IS_WALL[solids.material] & (2 * solids.half[:, 2] >= WALL_M) & (solids.kind == BOX)
    ] = textures.FACADE
    return texture


def _of_parts(actor: Actor) -> NDArray[np.int8]:
    """Textures of an object's solids, in its own axes."""
    parts = actor.parts
    texture = _of_material(parts)
    if actor.category == "movable_object.barrier":
        texture[parts.material == MATERIAL_INDEX["reflector"]] = textures.STRIPES
    if not actor.category.startswith("vehicle"):
        return texture
    painted = _IS_PAINT[parts.material] & (parts.kind == BOX)
    rear, front = parts.center[:, 0] - parts.half[:, 0], parts.center[:, 0] + parts.half[:, 0]
    foot = parts.center[:, 2] - parts.half[:, 2]
    # a lorry's bonnet ends below its windscreen, while a trailer's floor is higher
    low, lowest = foot < 0.4 * actor.height_m, foot < 0.3 * actor.height_m
    nose = painted & lowest & (front > 0.48 * actor.length_m)
    tail = painted & low & (rear < -0.48 * actor.length_m)
    cab = painted & ~lowest & (rear > -0.1 * actor.length_m) & (front > 0.45 * actor.length_m)
    rubber = parts.material == MATERIAL_INDEX["rubber"]
    texture[rubber & (parts.kind == ELLIPSOID)] = textures.WHEEL
    doors = painted & low & (front - rear > 0.6 * actor.length_m)
    body = textures.BODY + textures.NOSE * nose + textures.TAIL * tail + textures.DOORS * doors
    texture = np.where(painted & low, body, texture).astype(np.int8)
    if actor.category == "vehicle.truck":
        texture[cab & (parts.half[:, 2] > 0.1 * actor.height_m)] = textures.CAB
    return texture


def _colours(solids: Solids, seed: int, owner: int) -> Array:
    """(N, 3) the material's colour, a little different for each owner and each fixture."""
    keys = np.arange(len(solids)) if owner < 0 else np.full(len(solids), -1 - owner)
    draws = _draws(seed + 31 * keys, solids.material)
    natural, cloth = _IS_NATURAL[solids.material], _IS_CLOTH[solids.material]
    colour = LINEAR_RGB[solids.material]
    dye = _DYES[(len(_DYES) * draws[:, 4]).astype(np.int64)]
    colour = np.where(cloth[:, None], 0.3 * colour + 0.7 * dye, colour)
    hue, bright = np.where(natural, 0.3, 0.12)[:, None], np.where(natural, 1.2, 0.25)
    spread = hue * (draws[:, :3] - 0.5) + (bright * (draws[:, 3] - 0.5))[:, None]
    limited: Array = np.minimum(colour * np.exp(spread), 0.92)
    return limited


@kernel
def _draws(keys: NDArray[np.int64], material: NDArray[np.int8]) -> Array:
    """(N, 5) numbers in [0, 1) that key and material decide."""
    draws = np.empty((len(keys), 5))
    for place in range(len(keys)):
        for column in range(5):
            draws[place, column] = hash_of(keys[place], material[place], column)
    return draws
