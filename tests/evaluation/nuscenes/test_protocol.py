import pytest
from nuscenes.eval.detection import constants
from nuscenes.eval.detection.config import config_factory
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.color_map import get_colormap

from kd3d.errors import UserError
from kd3d.evaluation.nuscenes import ATTRIBUTES, CLASSES, protocol_of
from kd3d.evaluation.nuscenes.protocol import CLASS_OF_CATEGORY, ERRORS, RACK_CATEGORY


def test_settings_are_those_of_the_devkit():
    ours, devkit = protocol_of("detection_cvpr_2019"), config_factory("detection_cvpr_2019")
    assert dict(ours.range_m) == devkit.class_range
    assert list(ours.range_m) == list(devkit.class_names)
    assert list(ours.distances_m) == devkit.dist_ths
    assert ours.error_distance_m == devkit.dist_th_tp
    assert (ours.min_recall, ours.min_precision) == (devkit.min_recall, devkit.min_precision)
    assert (ours.max_boxes, ours.map_weight) == (
        devkit.max_boxes_per_sample,
        devkit.mean_ap_weight,
    )


def test_names_are_those_of_the_devkit():
    assert list(CLASSES) == constants.DETECTION_NAMES
    assert list(ATTRIBUTES) == constants.ATTRIBUTE_NAMES
    assert list(ERRORS) == constants.TP_METRICS
    categories = get_colormap()  # of all nuScenes categories
    assert {name for name in categories if category_to_detection_name(name)} == set(
        CLASS_OF_CATEGORY
    )
    for category, name in CLASS_OF_CATEGORY.items():
        assert category_to_detection_name(category) == name
    assert RACK_CATEGORY in categories


def test_another_name_is_refused():
    with pytest.raises(UserError, match=r"expected one of \['detection_cvpr_2019'\]"):
        protocol_of("tracking_nips_2019")
