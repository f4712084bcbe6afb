"""Every config is read, its pairs parse, and what it names is there."""

from functools import cache
from pathlib import Path

import pytest
from mmengine.evaluator import Evaluator
from mmengine.hub import get_config
from mmengine.registry import DefaultScope

import kd3d.distill  # noqa: F401  (registers the hook)
from kd3d.configs import load_config, require_entries
from kd3d.distill.pair_config import pair_from_config
from kd3d.distill.preflight import check_custom_hooks
from kd3d.evaluation.accuracy import prepare_test
from kd3d.evaluation.kitti_metric import KittiRecordMetric
from kd3d.evaluation.nuscenes.metric import NuScenesFastMetric
from kd3d.recipes.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(p for p in (ROOT / "configs").rglob("*.py") if p.parent.name != "_base_")
RECIPES = [path for path in CONFIGS if path.parent.name == "recipes"]
LIDAR = [path for path in CONFIGS if "centerpoint" in path.stem or "pointpillars" in path.stem]
DETECTORS = [path for path in CONFIGS if path not in RECIPES]
DISTILLED = [path for path in CONFIGS if "_from_" in path.stem]


def name(path):
    return path.stem


read = cache(load_config)


def distill_hooks(path):
    hooks = read(path).get("custom_hooks") or []
    return [hook for hook in hooks if hook["type"] == "DistillHook"]


def test_none_is_overlooked():
    assert len(CONFIGS) >= 15
    assert len(RECIPES) >= 1
    assert len(DISTILLED) >= 10
    assert len(LIDAR) >= 19
    assert sum(len(hook["pairs"]) for path in DISTILLED for hook in distill_hooks(path)) >= 18


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_a_config_distils_if_its_name_says_so(path):
    assert bool(distill_hooks(path)) == (path in DISTILLED)
    check_custom_hooks(read(path))


@pytest.mark.parametrize("path", DISTILLED, ids=name)
def test_pairs_parse_and_are_told_apart(path):
    hooks = distill_hooks(path)
    pairs = [pair_from_config(pair) for hook in hooks for pair in hook["pairs"]]
    assert len({pair.name for pair in pairs}) == len(pairs) > 0
    assert all(pair.weight.at(0.5) > 0 for pair in pairs)


@pytest.mark.parametrize("path", DISTILLED, ids=name)
def test_the_teachers_config_is_there_and_the_checkpoint_belongs_to_it(path, monkeypatch):
    monkeypatch.chdir(ROOT)  # paths of our own configs start at the repository
    for hook in distill_hooks(path):
        source, checkpoint = hook["teacher"]["config"], hook["teacher"]["checkpoint"]
        assert load_config(source).model
        if "::" in source:
            assert checkpoint == get_config(source, pretrained=True).model_path


@pytest.mark.parametrize("path", DETECTORS, ids=name)
def test_it_can_be_tested(path, tmp_path):
    """Its own entries and those of its upstream bases, as tools/test.py takes them."""
    config = load_config(path)
    require_entries(config, ["model", "test_dataloader", "test_cfg"], path)
    prepare_test(config, tmp_path)
    evaluators = config.test_evaluator
    assert any(
        evaluator["type"].endswith(("RecordMetric", "FastMetric")) for evaluator in evaluators
    )


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("path", LIDAR, ids=name)
def test_lidar_is_judged_by_our_metrics(path, split):
    """Upstream's want nuScenes' database for each validation, and CUDA for KITTI."""
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        (metric,) = Evaluator(read(path)[f"{split}_evaluator"]).metrics
    ours = KittiRecordMetric if "kitti" in path.stem else NuScenesFastMetric
    assert isinstance(metric, ours)
    assert metric.ann_file.endswith(".pkl")


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_recipes_name_configs_that_distil(path):
    recipe = read_recipe(path)
    assert Path(recipe.distilled.filename).resolve() in DISTILLED


GEOMETRIC = {"Resize", "RandomResize", "RandomChoiceResize", "RandomFlip", "RandomCrop", "Pad"}
GEOMETRIC |= {"GlobalRotScaleTrans", "RandomFlip3D"}
LOADING = {"LoadAnnotations", "LoadAnnotations3D"}


def training_pipelines(dataset):
    if "pipeline" in dataset:
        yield [step["type"] for step in dataset["pipeline"]]
    for part in [dataset.get("dataset"), *dataset.get("datasets", [])]:
        if part is not None:
            yield from training_pipelines(part)


@pytest.mark.parametrize("path", [p for p in CONFIGS if p not in RECIPES], ids=name)
def test_boxes_are_loaded_before_the_frame_changes_shape(path):
    """Otherwise they stay where they were, and training runs without an error and in vain."""
    pipelines = list(training_pipelines(read(path).train_dataloader.dataset))
    loading = [steps for steps in pipelines if LOADING & set(steps)]
    assert loading
    for steps in loading:
        first = next(place for place, step in enumerate(steps) if step in LOADING)
        assert not GEOMETRIC & set(steps[:first])
