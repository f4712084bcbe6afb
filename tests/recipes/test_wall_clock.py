import pytest
from mmengine.config import Config

from kd3d.errors import UserError
from kd3d.recipes.wall_clock import stretched


def test_iterations_and_schedule_keep_their_shape():
    config = Config(
        {
            "train_cfg": {"max_iters": 200, "val_interval": 50},
            "param_scheduler": [
                {"type": "LinearLR", "begin": 0, "end": 20, "by_epoch": False},
                {"type": "MultiStepLR", "milestones": [120, 160], "begin": 20, "end": 200},
            ],
        }
    )
    longer = stretched(config, 1.5)
    assert longer.train_cfg == {"max_iters": 300, "val_interval": 75}
    assert longer.param_scheduler == [
        {"type": "LinearLR", "begin": 0, "end": 30, "by_epoch": False},
        {"type": "MultiStepLR", "milestones": [180, 240], "begin": 30, "end": 300},
    ]
    assert config.train_cfg.max_iters == 200


def test_whole_epochs_are_rounded_up_and_all_else_follows_them():
    config = Config(
        {
            # 10 * 1.12 = 11.2 -> 12 epochs, so everything grows by 1.2
            "train_cfg": {"max_epochs": 10, "val_interval": 5, "dynamic_intervals": [(8, 1)]},
            "param_scheduler": {"type": "CosineAnnealingLR", "T_max": 10, "end": 10},
            "custom_hooks": [
                {"type": "YOLOXModeSwitchHook", "num_last_epochs": 5},
                {"type": "PipelineSwitchHook", "switch_epoch": 8},
            ],
        }
    )
    longer = stretched(config, 1.12)
    assert longer.train_cfg.max_epochs == 12
    assert longer.train_cfg.val_interval == 6
    assert longer.train_cfg.dynamic_intervals == [(10, 1)]  # 8 * 1.2 = 9.6; 1 * 1.2 = 1.2
    assert longer.param_scheduler == {"type": "CosineAnnealingLR", "T_max": 12, "end": 12}
    assert longer.custom_hooks[0].num_last_epochs == 6
    assert longer.custom_hooks[1].switch_epoch == 10


def test_a_ratio_of_one_changes_nothing():
    config = Config({"train_cfg": {"max_iters": 7}, "param_scheduler": [{"end": 7, "begin": 0}]})
    assert stretched(config, 1.0).to_dict() == config.to_dict()


def test_a_scheduler_without_an_end_stays_so():
    config = Config({"train_cfg": {"max_iters": 10}, "param_scheduler": [{"end": 10**9}]})
    assert stretched(config, 2.0).param_scheduler[0].end == 10**9


@pytest.mark.parametrize("kind", ["ExponentialLR", "mmdet.ReduceOnPlateauLR"])
def test_a_scheduler_without_a_length_is_refused(kind):
    config = Config({"train_cfg": {"max_iters": 10}, "param_scheduler": [{"type": kind}]})
    with pytest.raises(UserError, match="no length that could be stretched"):
        stretched(config, 2.0)


def test_a_loop_without_a_length_is_refused():
    with pytest.raises(UserError, match="neither max_epochs nor max_iters"):
        stretched(Config({"train_cfg": {"type": "Endless"}}), 2.0)
