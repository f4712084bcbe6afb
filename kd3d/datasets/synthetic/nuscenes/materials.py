"""What surfaces are made of: how strongly they return a laser pulse, and their colour."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Material:
    """A surface.

    Attributes:
        name: unique.
        reflectivity: share of the pulse that comes back at normal incidence, in [0, 1].
        rgb: colour in daylight.
        fill: share of rays through the solid that meet something, 1 for closed surfaces.
        roughness_m: how far hits scatter along the ray, standard deviation.
    """

    name: str
    reflectivity: float
    rgb: tuple[int, int, int]
    fill: float = 1.0
    roughness_m: float = 0.0


MATERIALS = (
    Material("asphalt", 0.10, (84, 84, 88)),
    Material("marking", 0.60, (222, 222, 216)),
    Material("pavement", 0.22, (150, 146, 140)),
    Material("grass", 0.30, (92, 122, 62), roughness_m=0.02),
    Material("paint_white", 0.55, (228, 228, 230)),
    Material("paint_silver", 0.45, (168, 172, 178)),
    Material("paint_black", 0.12, (36, 36, 40)),
    Material("paint_red", 0.40, (168, 36, 34)),
    Material("paint_blue", 0.30, (42, 66, 134)),
    Material("paint_yellow", 0.55, (232, 186, 44)),
    Material("glass", 0.06, (46, 58, 70), fill=0.55),
    Material("rubber", 0.05, (24, 24, 24)),
    Material("metal", 0.40, (120, 122, 126)),
    Material("cloth_dark", 0.15, (52, 54, 70), roughness_m=0.01),
    Material("cloth_light", 0.45, (190, 160, 130), roughness_m=0.01),
    Material("hi_vis", 0.85, (230, 220, 40), roughness_m=0.01),
    Material("skin", 0.40, (206, 160, 128)),
    Material("plastic_orange", 0.50, (236, 104, 28)),
    Material("reflector", 0.98, (244, 240, 230)),
    Material("concrete", 0.35, (168, 166, 160)),
    Material("brick", 0.28, (146, 88, 70)),
    Material("foliage", 0.38, (64, 104, 50), fill=0.65, roughness_m=0.12),
    Material("bark", 0.25, (92, 72, 54), roughness_m=0.01),
    Material("lattice", 0.35, (110, 112, 116), fill=0.45),
)
MATERIAL_INDEX = {material.name: place for place, material in enumerate(MATERIALS)}
REFLECTIVITY = np.array([material.reflectivity for material in MATERIALS])
FILL = np.array([material.fill for material in MATERIALS])
ROUGHNESS_M = np.array([material.roughness_m for material in MATERIALS])
