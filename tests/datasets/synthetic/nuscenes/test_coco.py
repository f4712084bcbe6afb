"""What shows becomes COCO boxes that pycocotools reads."""

from types import SimpleNamespace

import numpy as np
from pycocotools.coco import COCO

from kd3d.datasets.synthetic.nuscenes.coco import image_row, write_coco
from kd3d.datasets.synthetic.nuscenes.photographs import Photograph

ACTORS = [
    SimpleNamespace(category=name)
    for name in (
        "vehicle.car",
        "human.pedestrian.child",
        "movable_object.debris",  # not among the ten classes
        "vehicle.car",
        "vehicle.truck",
    )
]
SEEN = Photograph(
    "CAM_FRONT",
    b"",
    {
        0: (10.0, 20.0, 50.0, 40.0),
        1: (0.0, 0.0, 8.0, 30.0),
        2: (0.0, 0.0, 99.0, 99.0),
        3: (0.0, 0.0, 7.0, 30.0),  # narrower than 8 px
        4: (0.0, 0.0, 99.0, 99.0),  # 9 of 100 pixels show
    },
    np.array([400, 100, 100, 100, 9]),
    np.array([800, 100, 100, 100, 100]),
)


def test_boxes_by_hand():
    row = image_row("samples/CAM_FRONT/a.jpg", "abc", SEEN, ACTORS)
    assert row["image"] == {
        "file_name": "samples/CAM_FRONT/a.jpg",
        "width": 1600,
        "height": 900,
        "token": "abc",
    }
    assert row["annotations"] == [
        {"category_id": 1, "bbox": [10.0, 20.0, 40.0, 20.0], "area": 800.0, "iscrowd": 0},
        {"category_id": 8, "bbox": [0.0, 0.0, 8.0, 30.0], "area": 240.0, "iscrowd": 0},
    ]


def test_pycocotools_reads_the_file(tmp_path):
    empty = Photograph("CAM_BACK", b"", {}, np.zeros(5), np.zeros(5))
    rows = [
        image_row(f"{n}.jpg", n, p, ACTORS) for n, p in (("a", SEEN), ("b", empty), ("c", SEEN))
    ]
    write_coco(tmp_path / "boxes.json", rows)
    coco = COCO(str(tmp_path / "boxes.json"))
    assert [coco.imgs[i]["file_name"] for i in sorted(coco.imgs)] == ["a.jpg", "b.jpg", "c.jpg"]
    assert len(coco.getAnnIds()) == 4
    assert coco.getAnnIds(imgIds=[2]) == []
    assert len(coco.getAnnIds(imgIds=[3], catIds=coco.getCatIds(catNms=["pedestrian"]))) == 1
    assert len(coco.cats) == 10
