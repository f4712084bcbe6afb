import copy

import pytest
import toys3d
from mmdet3d.datasets import transforms
from mmengine.config import Config

from kd3d.configs import load_config
from kd3d.distill.point_loading import check_point_loading, values_read
from kd3d.errors import UserError


def config(*steps):
    """A data loader whose pipeline lies below wrappers, as CBGSDataset and ConcatDataset do."""
    inner = {"type": "NuScenesDataset", "pipeline": list(steps)}
    concat = {"type": "ConcatDataset", "datasets": [{"type": "CBGSDataset", "dataset": inner}]}
    return Config({"train_dataloader": {"dataset": concat}})


FIVE = {"type": "LoadPointsFromFile", "load_dim": 5, "use_dim": 5}
SWEEPS = {"type": "LoadPointsFromMultiSweeps", "sweeps_num": 9, "use_dim": [0, 1, 2, 4]}
NARROW = {"type": "PointsRangeFilter", "point_cloud_range": [-5, -5, -2, 5, 5, 2]}


def check(student, teacher, model=None):
    models = (toys3d.built(toys3d.centerpoint()), toys3d.built(model or toys3d.centerpoint()))
    return check_point_loading(student, teacher, models)


def test_equal_loading_has_nothing_to_say():
    assert check(config(FIVE), config(FIVE)) == []
    assert check(config(FIVE), Config({})) == []  # a teacher's config with a model alone


def test_other_values_of_a_point_are_refused():
    with pytest.raises(UserError, match=r"\[0, 1, 2, 3, 4\] of each point, .* \[0, 1, 2, 'time'\]"):
        check(config(FIVE), config(FIVE, SWEEPS))


def test_another_number_of_values_is_refused_without_the_teachers_pipeline():
    four = copy.deepcopy(toys3d.centerpoint())
    four["pts_voxel_encoder"]["in_channels"] = 4
    with pytest.raises(UserError, match=r"loads 5 values a point .* encoder reads 4"):
        check(config(FIVE), Config({}), four)


def test_a_filter_narrower_than_the_teachers_range_is_noted():
    (note,) = check(config(FIVE, NARROW), config(FIVE))
    assert "the teacher sees x -6.4 to 6.4 m" in note
    assert "lets through x -5 to 5 m" in note


def test_a_filter_inside_a_wrapper_is_found():
    wrapped = {"type": "ReplayedAugmentation", "transforms": [NARROW]}
    assert len(check(config(FIVE, wrapped), config(FIVE))) == 1
    one_of_two = {"type": "RandomChoice", "transforms": [[], [NARROW]]}  # as DETR's resizing
    assert len(check(config(FIVE, one_of_two), config(FIVE))) == 1


def test_another_number_of_sweeps_is_noted():
    sweeps = {"type": "LoadPointsFromMultiSweeps", "sweeps_num": 9, "use_dim": [0, 1, 2, 3, 4]}
    none = {**sweeps, "sweeps_num": 0}
    (note,) = check(config(FIVE, none), config(FIVE, sweeps))
    assert "adds 0 earlier sweeps, the teacher was trained with 9" in note


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py", 5),
        ("centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py", 5),
        ("pointpillars/pointpillars_hv_fpn_sbn-all_8xb4-2x_nus-3d.py", 4),
        ("pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-car.py", 4),
    ],
)
def test_values_that_stock_encoders_read_are_those_their_pipelines_load(name, expected):
    stock = load_config(f"mmdet3d::{name}")
    encoder = stock.model.get("pts_voxel_encoder") or stock.model.voxel_encoder
    model = type("Model", (), {"voxel_encoder": toys3d.built(encoder)})
    assert values_read(model) == expected
    same = Config({"train_dataloader": stock.train_dataloader})
    assert check_point_loading(same, same, (model, model)) == []


def test_a_ring_is_not_read_as_a_time():
    """Sweeps of none leave the columns as they are, but one of them is the age, not the ring."""
    sweeps = {"type": "LoadPointsFromMultiSweeps", "sweeps_num": 9, "use_dim": [0, 1, 2, 3, 4]}
    with pytest.raises(UserError, match=r"\[0, 1, 2, 3, 4\] of .*'time'\]; .* sweeps_num=0 for"):
        check(config(FIVE), config(FIVE, sweeps))


def test_steps_named_by_their_class_are_read():
    as_classes = [{**step, "type": getattr(transforms, step["type"])} for step in (FIVE, NARROW)]
    (note,) = check(config(*as_classes), config(FIVE))
    assert "lets through x -5 to 5 m" in note
    four = {"type": transforms.LoadPointsFromFile, "load_dim": 5, "use_dim": 4}
    with pytest.raises(UserError, match=r"the values \[0, 1, 2, 3\] of each point"):
        check(config(four), config(FIVE))
