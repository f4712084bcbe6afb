import copy

import pytest
from mmengine.config import Config

from kd3d.distill.preflight import check_unlabelled
from kd3d.errors import UserError
from kd3d.recipes.twins import (
    baseline_config,
    control_config,
    teacher_hook,
    teacher_test_config,
    variant_config,
    with_teacher_checkpoint,
)


def types(config):
    return [hook["type"] for hook in config.custom_hooks]


def test_the_baseline_differs_by_the_distill_hooks_alone(distilled):
    baseline = baseline_config(distilled)
    assert types(baseline) == ["EMAHook"]
    rest = {key: value for key, value in baseline.to_dict().items() if key != "custom_hooks"}
    assert rest == {k: v for k, v in distilled.to_dict().items() if k != "custom_hooks"}


def part(name, **changes):
    return {"type": "CocoDataset", "ann_file": name, **changes}


def mixed(distilled, *datasets, wrapper=None):
    joined = {"type": "ConcatDataset", "datasets": list(datasets)}
    distilled.train_dataloader = {
        "batch_size": 4,
        "sampler": {"type": "mmdet.MultiSourceSampler", "batch_size": 4, "source_ratio": [1, 3]},
        "dataset": {**wrapper, "dataset": joined} if wrapper else joined,
    }
    return distilled


def test_twins_learn_from_labelled_frames_alone(distilled):
    bare = {"type": "kd3d.Unlabelled", "dataset": part("rest.json")}
    given = mixed(distilled, part("few.json"), bare)
    before = given.to_dict()
    for twin in (baseline_config(given), control_config(given, scale=2.0)):
        assert twin.train_dataloader == {
            "batch_size": 4,
            "sampler": {"type": "InfiniteSampler", "shuffle": True},
            "dataset": part("few.json"),
        }
    assert given.to_dict() == before


def test_the_twins_of_frames_without_labels_may_be_trained(distilled):
    bare = {"type": "kd3d.Unlabelled", "dataset": part("rest.json")}
    given = mixed(distilled, part("few.json"), {"type": "RepeatDataset", "dataset": bare})
    check_unlabelled(given)
    check_unlabelled(baseline_config(given))
    given.custom_hooks = baseline_config(given).custom_hooks
    with pytest.raises(UserError, match="has Unlabelled frames, but custom_hooks has no Distill"):
        check_unlabelled(given)


def test_several_labelled_parts_stay_joined_below_a_wrapper(distilled):
    bare = {"type": "Unlabelled", "dataset": part("rest.json")}
    repeat = {"type": "RepeatDataset", "times": 2}
    parts = (part("one.json"), bare, part("two.json"))
    twin = baseline_config(mixed(distilled, *parts, wrapper=repeat))
    assert twin.train_dataloader.dataset == {
        **repeat,
        "dataset": {"type": "ConcatDataset", "datasets": [part("one.json"), part("two.json")]},
    }


def test_without_any_label_there_is_no_baseline(distilled):
    bare = {"type": "Unlabelled", "dataset": part("rest.json")}
    with pytest.raises(UserError, match="Unlabelled throughout"):
        baseline_config(mixed(distilled, bare))


@pytest.mark.parametrize("kind", ["DistillHook", "kd3d.DistillHook"])
def test_every_distill_hook_is_dropped(distilled, kind):
    second = copy.deepcopy(distilled.custom_hooks[1])
    second.type = kind
    distilled.custom_hooks.append(second)
    assert types(baseline_config(distilled)) == ["EMAHook"]


def test_the_control_adds_the_scale_and_what_registers_it(distilled):
    control = control_config(distilled, scale=1.7, terms=["loss_cls"])
    assert types(control) == ["EMAHook", "GroundTruthScaleHook"]
    assert control.custom_hooks[1] == {
        "type": "GroundTruthScaleHook",
        "scale": 1.7,
        "terms": ["loss_cls"],
    }
    assert control.custom_imports.imports == ["kd3d.distill", "kd3d.distill.control"]


def test_the_given_config_stays(distilled, teacher):
    before = distilled.to_dict()
    control_config(distilled, scale=2.0)
    teacher_test_config(distilled, teacher)
    with_teacher_checkpoint(distilled, "", "x.pth")
    assert distilled.to_dict() == before


def test_the_teacher_is_tested_on_the_students_images(distilled, teacher):
    config = teacher_test_config(distilled, teacher)
    assert config.model == {"type": "Toy", "channels": 64}
    assert config.test_dataloader.dataset.ann_file == "test.json"
    assert "custom_hooks" not in config
    assert "train_cfg" not in config
    assert config.custom_imports.imports == ["kd3d.distill", "kd3d.models"]


def test_a_config_without_a_test_set_is_refused(distilled, teacher):
    distilled.pop("test_evaluator")
    with pytest.raises(UserError, match="has no test_evaluator"):
        teacher_test_config(distilled, teacher)


def test_the_teachers_checkpoint_is_replaced(distilled):
    changed = with_teacher_checkpoint(distilled, "", "made/here.pth")
    assert changed.custom_hooks[1].teacher.checkpoint == "made/here.pth"


def test_several_teachers_need_a_name(distilled):
    second = copy.deepcopy(distilled.custom_hooks[1])
    second.name = "large"
    distilled.custom_hooks.append(second)
    with pytest.raises(UserError, match="DistillHooks distill, large"):
        teacher_hook(distilled)
    assert teacher_hook(distilled, "large") is distilled.custom_hooks[2]
    assert teacher_hook(distilled, "distill") is distilled.custom_hooks[1]


def test_a_config_without_a_distill_hook_is_refused():
    with pytest.raises(UserError, match="has no DistillHook"):
        teacher_hook(Config({"custom_hooks": [{"type": "EMAHook"}]}))


def test_a_variant_keeps_the_named_pairs_and_takes_its_changes(distilled):
    distilled.custom_hooks[1].pairs.append({"name": "response", "weight": 1.0})
    before = distilled.to_dict()
    changes = {"custom_hooks.1.pairs.0.weight": 4.0, "optim_wrapper.optimizer.lr": 0.2}
    varied = variant_config(distilled, "hot", ["response"], changes)
    assert varied.custom_hooks[1].pairs == [{"name": "response", "weight": 4.0}]
    assert varied.optim_wrapper.optimizer.lr == 0.2
    assert distilled.to_dict() == before


def test_a_variant_drops_a_teacher_that_no_pair_asks(distilled):
    second = copy.deepcopy(distilled.custom_hooks[1])
    second.update(name="large", pairs=[{"name": "head"}])
    distilled.custom_hooks.append(second)
    assert types(variant_config(distilled, "a", ["neck"], {})) == ["EMAHook", "DistillHook"]
    assert variant_config(distilled, "a", None, {}).to_dict() == distilled.to_dict()


@pytest.mark.parametrize(
    ("pairs", "changes", "message"),
    [
        (["nek"], {}, r"recipe.variants.a names the pair 'nek'; the config has \['neck'\]"),
        (None, {"optim_wrapper.optimzer.lr": 1}, "variants.a.changes optim_wrapper.optimzer.lr"),
    ],
)
def test_a_variant_of_what_is_not_there_is_refused(distilled, pairs, changes, message):
    with pytest.raises(UserError, match=message):
        variant_config(distilled, "a", pairs, changes)


def test_a_teacher_with_its_classes_in_another_order_is_refused(distilled, teacher):
    distilled.test_dataloader.dataset.metainfo = {"classes": ["car", "bus"]}
    wrapped = {"type": "RepeatDataset", "dataset": {"metainfo": {"classes": ["bus", "car"]}}}
    teacher.test_dataloader.dataset = wrapped
    with pytest.raises(UserError, match="the same in the same order"):
        teacher_test_config(distilled, teacher)
    wrapped["dataset"]["metainfo"]["classes"] = ["car", "bus"]
    teacher.test_dataloader.dataset = wrapped
    assert teacher_test_config(distilled, teacher).model.channels == 64
