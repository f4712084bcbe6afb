import numpy as np
import pytest
import toys
import toys3d
from mmengine.registry import DATASETS, DefaultScope

from kd3d.datasets.unlabelled import without_labels
from kd3d.errors import UserError


def built(settings, scope):
    with DefaultScope.overwrite_default_scope(scope):
        return DATASETS.build(settings)


def images(folder, **changes):
    return {**toys.training(folder, {}).train_dataloader.dataset, **changes}


def test_images_lose_their_boxes_and_say_so(tmp_path):
    inner = images(tmp_path)
    labelled = built(inner, "mmdet")
    bare = built({"type": "Unlabelled", "dataset": inner}, "mmdet")
    assert len(bare) == len(labelled) == 8
    assert len(labelled[0]["data_samples"].gt_instances) == 2
    for index in range(8):
        sample = bare[index]["data_samples"]
        assert len(sample.gt_instances) == 0
        assert sample.metainfo["labelled"] is False
    assert bare.get_data_info(3)["img_id"] == labelled.get_data_info(3)["img_id"]
    assert bare.get_data_info(3)["instances"] == []
    assert bare.metainfo == labelled.metainfo


def test_frames_that_have_no_object_are_kept(tmp_path):
    infos = toys3d.lidar_frames(tmp_path, frames=3, empty=(1,))
    inner = toys3d.dataset(infos, filter_empty_gt=True)
    bare = built({"type": "Unlabelled", "dataset": inner}, "mmdet3d")
    paths = [bare[index]["data_samples"].metainfo["lidar_path"] for index in range(3)]
    assert [path.rpartition("/")[2] for path in paths] == ["0.bin", "1.bin", "2.bin"]
    for index in range(3):
        boxes = bare[index]["data_samples"].gt_instances_3d.bboxes_3d
        assert boxes.tensor.shape == (0, 9)


def test_images_filtered_for_want_of_boxes_are_kept(tmp_path):
    inner = images(tmp_path, filter_cfg={"filter_empty_gt": True, "min_size": 1000})
    with pytest.raises(ValueError, match="need at least one array"):
        built(inner, "mmdet")  # no box is that large
    assert len(built({"type": "Unlabelled", "dataset": inner}, "mmdet")) == 8


def test_they_join_labelled_frames(tmp_path):
    infos = toys3d.lidar_frames(tmp_path, frames=4)
    labelled = toys3d.dataset(infos, indices=1)
    bare = {"type": "Unlabelled", "dataset": toys3d.dataset(infos)}
    joined = built({"type": "ConcatDataset", "datasets": [labelled, bare]}, "mmdet3d")
    assert joined.cumulative_sizes == [1, 5]
    flags = [joined[i]["data_samples"].metainfo.get("labelled", True) for i in range(5)]
    assert flags == [True, False, False, False, False]


def test_a_wrapper_inside_is_refused(tmp_path):
    repeated = {"type": "RepeatDataset", "times": 2, "dataset": images(tmp_path)}
    with pytest.raises(UserError, match="got the wrapper RepeatDataset"):
        built({"type": "Unlabelled", "dataset": repeated}, "mmdet")


def crops(folder, **settings):
    """Images of 64 px whose pipeline cuts out 32 px, before it packs them."""
    inner = images(folder)
    crop = {"type": "RandomCrop", "crop_size": (32, 32), **settings}
    return {**inner, "pipeline": [*inner["pipeline"][:-1], crop, inner["pipeline"][-1]]}


def test_a_transform_that_turns_down_frames_without_boxes_is_named(tmp_path):
    inner = crops(tmp_path)  # its default is allow_negative_crop=False
    bare = built({"type": "Unlabelled", "dataset": inner}, "mmdet")
    loads = []
    load = bare.dataset.pipeline.transforms[0]
    bare.dataset.pipeline.transforms[0] = lambda data: (loads.append(1), load(data))[1]
    with pytest.raises(UserError) as refused:
        bare[0]
    text = str(refused.value)
    assert f"RandomCrop in the pipeline of CocoDataset {inner['ann_file']} turns down" in text
    assert "none of 11 came through" in text
    assert "allow_negative_crop=True" in text
    assert len(loads) == 12  # and not a thousand: one more finds the transform
    assert isinstance(built(inner, "mmdet")[0], dict)  # labelled frames pass


def test_a_transform_that_takes_frames_without_boxes_passes(tmp_path):
    inner = crops(tmp_path, allow_negative_crop=True)
    bare = built({"type": "Unlabelled", "dataset": inner}, "mmdet")
    assert bare[0]["inputs"].shape[1:] == (32, 32)


def test_an_error_within_a_transform_stays_what_it_is(tmp_path):
    inner = images(tmp_path, data_prefix={"img": "nowhere"})
    bare = built({"type": "Unlabelled", "dataset": inner}, "mmdet")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        bare[0]


def test_images_without_their_annotations_loaded_are_refused(tmp_path):
    inner = images(tmp_path)
    inner["pipeline"] = [step for step in inner["pipeline"] if step["type"] != "LoadAnnotations"]
    inner["pipeline"] = [step for step in inner["pipeline"] if step["type"] != "RandomFlip"]
    with pytest.raises(UserError, match=r"packs no bboxes and labels, .* LoadAnnotations \(with_b"):
        built({"type": "Unlabelled", "dataset": inner}, "mmdet")[0]


@pytest.mark.parametrize(
    ("left_out", "keys"),
    [
        (["LoadAnnotations3D", "ObjectRangeFilter"], ["points", "gt_bboxes_3d", "gt_labels_3d"]),
        ([], ["points"]),
        ([], ["points", "gt_bboxes_3d"]),
    ],
)
def test_points_packed_without_their_annotations_are_refused(tmp_path, left_out, keys):
    steps = [s for s in toys3d.pipeline(augmented=False) if s["type"] not in left_out]
    steps[-1] = {**steps[-1], "keys": keys}
    inner = toys3d.dataset(toys3d.lidar_frames(tmp_path, frames=1), pipeline=steps)
    with pytest.raises(UserError) as refused:
        built({"type": "Unlabelled", "dataset": inner}, "mmdet3d")[0]
    text = str(refused.value)
    assert text.startswith("Unlabelled: its pipeline packs no bboxes_3d and labels_3d")
    assert "add LoadAnnotations3D, and gt_bboxes_3d and gt_labels_3d to the keys of Pack" in text


def test_an_image_without_objects_in_3d_keeps_the_shapes_of_empty_labels():
    """NuScenesDataset gives a number without an axis in the place of an empty list."""
    none = {"gt_bboxes_labels": np.array(0, dtype=np.int64), "gt_bboxes": np.zeros((0, 4))}
    kept = without_labels({"ann_info": none})["ann_info"]
    assert kept["gt_bboxes_labels"].shape == (0,)
    assert kept["gt_bboxes"].shape == (0, 4)


def test_pasted_objects_are_refused(tmp_path):
    from mmengine.registry import TRANSFORMS

    @TRANSFORMS.register_module(force=True)
    class PastesABox:
        def __call__(self, results):
            import torch

            sample = results["data_samples"]
            sample.gt_instances.labels = torch.zeros(0)
            sample.gt_instances = type(sample.gt_instances)(labels=torch.zeros(1))
            return results

    inner = images(tmp_path)
    inner["pipeline"] = [*inner["pipeline"], {"type": "PastesABox"}]
    with pytest.raises(UserError, match="added objects to a frame without labels"):
        built({"type": "Unlabelled", "dataset": inner}, "mmdet")[0]
