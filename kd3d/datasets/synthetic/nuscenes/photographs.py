"""The six images of a keyframe, and what they show of each actor."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kd3d.datasets.synthetic.nuscenes.cameras import CAMERAS, HEIGHT_PX, WIDTH_PX, Camera
from kd3d.datasets.synthetic.nuscenes.ground_picture import GroundPicture
from kd3d.datasets.synthetic.nuscenes.look import Look, look_of
from kd3d.datasets.synthetic.nuscenes.painting import Painting, painting_of
from kd3d.datasets.synthetic.nuscenes.raster import Raster, View, rasterise
from kd3d.datasets.synthetic.nuscenes.scene import Scene
from kd3d.datasets.synthetic.nuscenes.shading import shade
from kd3d.datasets.synthetic.nuscenes.shadows import shadows_of
from kd3d.datasets.synthetic.nuscenes.solids import Solids
from kd3d.datasets.synthetic.nuscenes.tracks import Pose

SCALE = 1
"""Image pixels along the edge of a pixel that is rendered; above 1 the picture is enlarged."""
JPEG_QUALITY = 88


@dataclass(frozen=True)
class Photograph:
    """What one camera saw.

    Attributes:
        channel: of the camera.
        jpeg: the encoded image, 1600 x 900.
        boxes_px: of each actor that shows, by its index: left, top, right, bottom of its visible
            pixels, edges in [0, 1600] x [0, 900], the first pixel covering 0 to 1.
        visible_px: (number of actors,) rendered pixels in which each shows.
        alone_px: (number of actors,) the same, if nothing stood before it.
    """

    channel: str
    jpeg: bytes
    boxes_px: dict[int, tuple[float, float, float, float]]
    visible_px: NDArray[np.int64]
    alone_px: NDArray[np.int64]


def visibility_of(photographs: Sequence[Photograph]) -> NDArray[np.float64]:
    """(number of actors,) share of each actor's pixels that show, over all images.

    The pixels of an actor are those that it would cover in the images if nothing stood before it;
    an actor that no image reaches has share 0.
    """
    visible = np.sum([photograph.visible_px for photograph in photographs], axis=0)
    alone = np.sum([photograph.alone_px for photograph in photographs], axis=0)
    share: NDArray[np.float64] = visible / np.maximum(alone, 1)
    return share


class Photographer:
    """Takes the pictures of one scene; what does not change with time is made once."""

    def __init__(self, scene: Scene, seed: int, scale: int = SCALE) -> None:
        """Prepares a scene.

        Args:
            scene: the world.
            seed: of the sun's place, of shades of colour, and of the sensor's noise.
            scale: edge of a rendered pixel in image pixels, a divisor of 1600 and 900.
        """
        self._scene, self._seed, self._scale = scene, seed, scale
        self._painting: Painting = painting_of(scene, seed)
        self._ground = GroundPicture.of(scene.ground)
        self._look: Look = look_of(scene.domain, seed)

    def keyframe(self, time_s: float) -> list[Photograph]:
        """The images of all cameras at one instant, in the order of ``CAMERAS``."""
        solids, pose = self._scene.solids(time_s), self._scene.ego_pose(time_s)
        around = (pose.x_m, pose.y_m)
        shadows = shadows_of(solids, around, np.array(self._look.toward_sun))
        photographs = []
        for place, camera in enumerate(CAMERAS):
            view = view_of(camera, pose, self._scale)
            raster = rasterise(solids, self._painting, view, len(self._scene.actors))
            noise = self._seed + 1009 * round(1000 * time_s) + 101 * place
            heading = (float(np.cos(pose.yaw)), float(np.sin(pose.yaw)))
            image = shade(
                raster, view, solids, self._painting, self._ground, shadows, self._look,
                heading, noise & 0x7FFFFFFF,
            )  # fmt: skip
            photographs.append(self._photograph(camera, image, raster, solids))
        return photographs

    def _photograph(
        self, camera: Camera, image: NDArray[np.uint8], raster: Raster, solids: Solids
    ) -> Photograph:
        full = cv2.resize(image, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_LINEAR)
        _, encoded = cv2.imencode(".jpg", full, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        boxes, visible = boxes_of(raster, solids, self._scale)
        return Photograph(camera.channel, encoded.tobytes(), boxes, visible, raster.alone_px)


def view_of(camera: Camera, pose: Pose, scale: int = 1) -> View:
    """The camera of a car that stands on the ground."""
    cos, sin = np.cos(pose.yaw), np.sin(pose.yaw)
    global_from_ego = np.eye(4)
    global_from_ego[:2] = [[cos, -sin, 0, pose.x_m], [sin, cos, 0, pose.y_m]]
    return View.of(camera, global_from_ego, (WIDTH_PX, HEIGHT_PX), scale)


def boxes_of(
    raster: Raster, solids: Solids, scale: int
) -> tuple[dict[int, tuple[float, float, float, float]], NDArray[np.int64]]:
    """Box of the visible pixels of each actor that shows, in image pixels; pixels of each actor."""
    actors = len(raster.alone_px)
    rows, columns = np.nonzero(raster.index >= 0)
    owner = solids.owner[raster.index[rows, columns]]
    rows, columns, owner = rows[owner >= 0], columns[owner >= 0], owner[owner >= 0]
    low, high = np.full((actors, 2), 1 << 30), np.full((actors, 2), -1)
    place = np.stack([columns, rows], axis=1)
    np.minimum.at(low, owner, place)
    np.maximum.at(high, owner, place)
    visible = np.bincount(owner, minlength=actors)
    edges = np.concatenate([low, high + 1], axis=1) * float(scale)
    boxes = {int(a): tuple(edges[a].tolist()) for a in np.flatnonzero(visible)}
    return boxes, visible
