"""Images follow from scene and seed; boxes and visibility fit what they show."""

import cv2
import numpy as np
import pytest

from kd3d.datasets.synthetic.nuscenes.cameras import CAMERAS
from kd3d.datasets.synthetic.nuscenes.materials import MATERIAL_INDEX
from kd3d.datasets.synthetic.nuscenes.painting import painting_of
from kd3d.datasets.synthetic.nuscenes.photographs import (
    Photograph,
    Photographer,
    boxes_of,
    view_of,
    visibility_of,
)
from kd3d.datasets.synthetic.nuscenes.raster import Raster, rasterise
from kd3d.datasets.synthetic.nuscenes.scene import Actor, Ground, Scene
from kd3d.datasets.synthetic.nuscenes.solids import BOX, GROUND, SKY, Solids
from kd3d.datasets.synthetic.nuscenes.tracks import Pose, standing_at

EGO = Pose(100.0, 100.0, 0.0)
COARSE = 10  # 160 x 90 rays an image


def block(x: float, y: float, size_m: tuple[float, float, float], yaw: float = 0.0) -> Actor:
    """A red box as an actor, at a place before the car."""
    half = (size_m[0] / 2, size_m[1] / 2, size_m[2] / 2)
    parts = Solids.of([(BOX, (0.0, 0.0, half[2]), half, 0.0, MATERIAL_INDEX["paint_red"])])
    pose = Pose(EGO.x_m + x, EGO.y_m + y, yaw)
    return Actor("movable_object.debris", *size_m, parts, standing_at(pose))


def scene_of(*actors: Actor, domain: str = "day") -> Scene:
    ground = Ground(np.zeros((400, 400), dtype=np.int8), 0.0, 0.0, 0.5)
    return Scene(actors, Solids.of([]), ground, standing_at(EGO), domain)


def front_raster(scene: Scene, scale: int = 1) -> tuple[Raster, Solids]:
    solids, view = scene.solids(0.0), view_of(CAMERAS[0], EGO, scale)
    return rasterise(solids, painting_of(scene, 0), view, len(scene.actors)), solids


def pictures(scene: Scene, seed: int = 0) -> list[np.ndarray]:
    photographs = Photographer(scene, seed, COARSE).keyframe(0.0)
    return [cv2.imdecode(np.frombuffer(p.jpeg, np.uint8), cv2.IMREAD_COLOR) for p in photographs]


def test_box_of_a_lone_box_is_the_projection_of_its_corners():
    scene = scene_of(block(15.0, 1.0, (4.0, 2.0, 1.5), yaw=0.4))
    raster, solids = front_raster(scene)
    view = view_of(CAMERAS[0], EGO)
    signs = np.array([[x, y, z] for x in (-2, 2) for y in (-1, 1) for z in (0, 1.5)])
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    corners = np.column_stack([signs[:, :2] @ turn.T + (115.0, 101.0), signs[:, 2]])
    seen = (corners - view.origin_m) @ view.rotation @ view.intrinsic.T
    pixels = seen[:, :2] / seen[:, 2:]
    boxes, visible = boxes_of(raster, solids, 1)
    # a pixel's centre is a whole number, its edges lie half a pixel to either side
    expected = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)]) + 0.5
    assert boxes[0] == pytest.approx(expected, abs=1)
    assert visible[0] == raster.alone_px[0] > 1000


def test_boxes_of_by_hand():
    index = np.full((3, 4), SKY, dtype=np.int32)
    index[1:, :] = GROUND
    index[1, 1] = index[2, 2] = 0  # solids 0 and 1 belong to actor 1, solid 2 to none
    index[0, 3] = 1
    index[2, 0] = 2
    solids = Solids.of([(BOX, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.0, 0)] * 3)
    solids.owner[:] = [1, 1, -1]
    raster = Raster(index, np.zeros((3, 4), np.float32), np.array([0, 5]))
    boxes, visible = boxes_of(raster, solids, 2)
    assert boxes == {1: (2.0, 0.0, 8.0, 6.0)}  # columns 1 to 3, rows 0 to 2, two pixels each
    assert visible.tolist() == [0, 3]


def test_visibility_by_hand():
    def seen(visible: list[int], alone: list[int]) -> Photograph:
        return Photograph("CAM", b"", {}, np.array(visible), np.array(alone))

    both = [seen([30, 0, 0], [50, 10, 0]), seen([10, 9, 0], [50, 0, 0])]
    # actor 0: 40 of 100; actor 1: 9 of 10; actor 2: no image reaches it
    assert visibility_of(both) == pytest.approx([0.4, 0.9, 0.0])


def test_a_box_that_hides_half_of_another_halves_its_visibility():
    # The far one spans 1 m either side of y = 0 at 20 m (its front at 19.5); the near one, wider in
    # the image, covers all that lies to the left of the camera's axis.
    far, near = block(20.0, 0.0, (1.0, 2.0, 1.0)), block(10.0, 1.515, (1.0, 3.0, 2.0))
    photographs = Photographer(scene_of(far, near), 0, 2).keyframe(0.0)
    share = visibility_of(photographs)
    assert share[1] == 1.0
    # seen from 1.6 cm left of the middle, the edge at y = 0.015 hides up to the middle
    assert share[0] == pytest.approx(0.5, abs=0.03)


def test_keyframes_repeat_bit_for_bit_and_differ_by_seed():
    scene = scene_of(block(12.0, 0.0, (4.0, 2.0, 1.5)), block(-9.0, 4.0, (1.0, 1.0, 1.0)))
    first, again = (Photographer(scene, 5, COARSE).keyframe(0.0) for _ in range(2))
    other = Photographer(scene, 6, COARSE).keyframe(0.0)
    assert [p.jpeg for p in first] == [p.jpeg for p in again]
    assert all(a.jpeg != b.jpeg for a, b in zip(first, other, strict=True))
    assert [p.channel for p in first] == [camera.channel for camera in CAMERAS]


def test_a_red_box_is_red_where_its_box_says():
    scene = scene_of(block(12.0, 0.0, (4.0, 2.0, 1.5)))
    photograph = Photographer(scene, 0, COARSE).keyframe(0.0)[0]
    left, top, right, bottom = photograph.boxes_px[0]
    image = pictures(scene)[0]
    assert image.shape == (900, 1600, 3)
    inside = image[int(top) + 20 : int(bottom) - 20, int(left) + 20 : int(right) - 20]
    blue, green, red = inside.reshape(-1, 3).mean(axis=0)
    assert red > 2 * max(blue, green)


def test_nights_are_darker_and_noisier():
    actor = block(12.0, 0.0, (4.0, 2.0, 1.5))
    day, night = (pictures(scene_of(actor, domain=domain))[0] for domain in ("day", "night"))
    assert night.mean() < 0.5 * day.mean()
    sky = (slice(0, 200), slice(600, 1000))
    assert night[sky].std() > 0.01 * 255
