"""How a domain looks: sun, sky, haze, lamps and the noise of the sensor."""

from typing import NamedTuple

import numpy as np

from kd3d.datasets.synthetic.nuscenes.noise import hash_of

Rgb = tuple[float, float, float]


class Look(NamedTuple):
    """Light in linear colours; a white wall under light 1 is white in the image.

    Attributes:
        toward_sun: unit vector; straight up by night, when it stands for the lamps of the street.
        sun: light of the sun on a surface that faces it.
        ambient: light of the sky.
        zenith: colour of the sky above.
        horizon: colour of the sky at the horizon, and of the haze.
        haze_m: distance after which 63 % of a colour is haze.
        cloud: share of the sky with clouds.
        headlight: light of the car's own lamps, 10 m ahead.
        dark: 0 by day, 1 by night.
        wet: how much the ground mirrors.
        contrast: of the image about its middle grey, 1 is unchanged.
        noise: of the sensor, standard deviation of a colour in [0, 1].
    """

    toward_sun: tuple[float, float, float]
    sun: Rgb
    ambient: Rgb
    zenith: Rgb
    horizon: Rgb
    haze_m: float
    cloud: float
    headlight: float
    dark: float
    wet: float
    contrast: float
    noise: float


def look_of(domain: str, seed: int) -> Look:
    """The look of a scene; the seed turns the sun and moves it up or down."""
    if domain == "night":
        return Look(
            toward_sun=(0.0, 0.0, 1.0),
            sun=(0.10, 0.075, 0.045),
            ambient=(0.030, 0.034, 0.048),
            zenith=(0.006, 0.008, 0.014),
            horizon=(0.030, 0.028, 0.034),
            haze_m=140.0,
            cloud=0.0,
            headlight=1.3,
            dark=1.0,
            wet=0.25,
            contrast=0.88,
            noise=0.030,
        )
    turn = 2 * np.pi * hash_of(seed, 1, 5)
    rise = np.radians(35.0 + 30.0 * hash_of(seed, 2, 5))
    across = float(np.cos(rise))
    return Look(
        toward_sun=(
            across * float(np.cos(turn)),
            across * float(np.sin(turn)),
            float(np.sin(rise)),
        ),
        sun=(0.95, 0.90, 0.80),
        ambient=(0.34, 0.38, 0.46),
        zenith=(0.14, 0.30, 0.62),
        horizon=(0.62, 0.70, 0.78),
        haze_m=650.0,
        cloud=0.15 + 0.45 * hash_of(seed, 3, 5),
        headlight=0.0,
        dark=0.0,
        wet=0.0,
        contrast=1.0,
        noise=0.008,
    )
