import pytest
import toys
from mmengine.config import Config
from toys3d import centerpoint

from kd3d.configs import load_config
from kd3d.errors import UserError
from kd3d.export.detector import build_detector
from kd3d.export.graphs.shape_graph import uninitialised
from kd3d.recipes.student_family import family_of

GFL = "mmdet::gfl/gfl_r50_fpn_1x_coco.py"
RTMDET = "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py"
YOLOX = "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py"


def pillars():
    return Config({"model": centerpoint(), "default_scope": "mmdet3d"})


@pytest.mark.parametrize("source", [GFL, RTMDET, YOLOX])
def test_the_configs_own_choice_changes_nothing(source):
    config = load_config(source)
    family = family_of(config)
    assert family.config(config, family.start)._cfg_dict == config._cfg_dict
    assert all(family.start[name] in values for name, values in family.knobs.items())
    assert all(list(values) == sorted(values) for values in family.knobs.values())


@pytest.mark.parametrize("source", [GFL, RTMDET, YOLOX])
@pytest.mark.parametrize("place", [0, -1])
def test_the_smallest_and_largest_are_built(source, place):
    config = load_config(source)
    family = family_of(config)
    choice = {name: values[place] for name, values in family.knobs.items()}
    changed = family.config(config, choice)
    changed.model.backbone.init_cfg = None
    detector = uninitialised(lambda: build_detector(changed))
    assert detector.bbox_head.feat_channels == choice["neck"]
    assert detector.bbox_head.stacked_convs == choice["head"]


def test_pretrained_weights_stay_where_there_are_some():
    config = load_config(GFL)
    family = family_of(config)
    deeper = family.config(config, {**family.start, "depth": 34}).model.backbone
    assert deeper.init_cfg.checkpoint == "torchvision://resnet34"
    assert deeper.frozen_stages == 1
    thinner = family.config(config, {**family.start, "width": 32}).model.backbone
    assert thinner.init_cfg is None
    assert (thinner.frozen_stages, thinner.norm_eval) == (-1, False)
    assert thinner.stem_channels == thinner.base_channels == 32


def test_neck_channels_follow_the_backbones():
    config = load_config(GFL)
    family = family_of(config)
    thin = family.config(config, {**family.start, "depth": 18, "width": 32})
    assert thin.model.neck.in_channels == [32, 64, 128, 256]
    rtmdet = load_config(RTMDET)
    family = family_of(rtmdet)
    wide = family.config(rtmdet, {**family.start, "width": 0.75, "depth": 0.67}).model.neck
    assert wide.in_channels == [192, 384, 768]
    assert wide.num_csp_blocks == 2


def test_widths_are_divided_by_the_groups_of_the_heads_norms():
    assert all(width % 32 == 0 for width in family_of(load_config(GFL)).knobs["neck"])
    toy = Config({"model": toys.retinanet()})
    assert 48 in family_of(toy).knobs["neck"]


def test_a_knob_can_be_fixed():
    family = family_of(load_config(GFL))
    fixed = family.with_fixed({"input": 0.75})
    assert fixed.knobs["input"] == (0.75,)
    assert fixed.start["input"] == 0.75
    with pytest.raises(UserError, match="the knobs of ResNet are input, depth"):
        family.with_fixed({"size": 1})
    with pytest.raises(UserError, match=r"depth=20: expected one of 18, 34, 50"):
        family.with_fixed({"depth": 20})


def test_pillars_change_wherever_the_config_names_them():
    config = pillars()
    family = family_of(config)
    coarse = family.config(config, {**family.start, "coarseness": family.knobs["coarseness"][0]})
    factor = -family.knobs["coarseness"][0]
    assert factor == 2
    side = config.model.data_preprocessor.voxel_layer.voxel_size[0]
    rows, columns = config.model.pts_middle_encoder.output_shape
    model = coarse.model
    assert model.data_preprocessor.voxel_layer.voxel_size[0] == 2 * side
    assert model.pts_voxel_encoder.voxel_size[0] == 2 * side
    assert model.pts_bbox_head.bbox_coder.voxel_size[0] == 2 * side
    assert model.pts_middle_encoder.output_shape == [rows // 2, columns // 2]
    assert model.train_cfg.pts.grid_size[:2] == [columns // 2, rows // 2]
    assert model.test_cfg.pts.voxel_size[0] == 2 * side


def test_pillar_channels_fit_from_encoder_to_head():
    config = pillars()
    family = family_of(config)
    wide = family.config(config, {**family.start, "width": 24, "neck": 48, "layers": 2.0}).model
    assert wide.pts_voxel_encoder.feat_channels[-1] == 24
    assert wide.pts_middle_encoder.in_channels == wide.pts_backbone.in_channels == 24
    assert wide.pts_backbone.out_channels[0] == 24
    assert wide.pts_neck.in_channels == wide.pts_backbone.out_channels
    assert wide.pts_bbox_head.in_channels == 48 * len(wide.pts_neck.out_channels)
    doubled = [2 * count for count in config.model.pts_backbone.layer_nums]
    assert wide.pts_backbone.layer_nums == doubled


def test_a_detector_of_no_family_is_refused():
    config = load_config("mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py")
    with pytest.raises(UserError, match="belongs to no family"):
        family_of(config)
