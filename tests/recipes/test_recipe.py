import pytest
from mmengine.config import Config

from kd3d.errors import UserError
from kd3d.recipes.recipe import Control, Preparation, Variant, read_recipe

HOOK = """
custom_hooks = [dict(type="DistillHook", teacher=dict(config="t.py"), pairs=[])]
optim_wrapper = dict(lr=0.1)
"""


@pytest.fixture
def write(tmp_path):
    """Writes a distilled config and a recipe beside it; returns the recipe's path."""

    def _write(entries):
        (tmp_path / "students").mkdir(exist_ok=True)
        (tmp_path / "students" / "small.py").write_text(HOOK)
        path = tmp_path / "compare.py"
        path.write_text(f"recipe = dict({entries})\n")
        return path

    return _write


def test_a_recipe_is_read_with_paths_relative_to_it(write):
    recipe = read_recipe(
        write(
            'distilled="students/small.py", seeds=[3, 4], train_teacher=True, export=True,'
            'input_size=(64, 96), control=dict(terms=["loss_cls"], scale=1.5),'
            'prepare=[dict(run="tools/make.py --out data", makes="data"), dict(run="true")]'
        )
    )
    assert recipe.name == "compare"
    assert recipe.distilled.custom_hooks[0].type == "DistillHook"
    assert recipe.seeds == (3, 4)
    assert recipe.train_teacher
    assert recipe.input_size == (64, 96)
    assert recipe.control == Control(terms=("loss_cls",), scale=1.5)
    assert recipe.prepare == (
        Preparation("tools/make.py --out data", "data"),
        Preparation("true"),
    )


def test_variants_keep_some_pairs_or_change_the_config(write):
    recipe = read_recipe(
        write(
            'distilled="students/small.py", export=True,'
            'variants={"heatmap": dict(pairs=["response"]), "slow": dict(changes={"a.b": 1})}'
        )
    )
    assert recipe.variants == (
        Variant("heatmap", ("response",)),
        Variant("slow", None, {"a.b": 1}),
    )
    assert recipe.input_size is None  # left to the config


def test_a_distilled_config_alone_is_a_recipe(tmp_path):
    (tmp_path / "small.py").write_text(HOOK)
    recipe = read_recipe(tmp_path / "small.py", changes={"seeds": [5]})
    assert recipe.name == "small"
    assert recipe.seeds == (5,)
    assert recipe.control == Control(terms=None, scale=None)


def test_options_change_the_distilled_config(write):
    recipe = read_recipe(
        write('distilled="students/small.py"'), cfg_options={"optim_wrapper.lr": 0.5}
    )
    assert isinstance(recipe.distilled, Config)
    assert recipe.distilled.optim_wrapper.lr == 0.5


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("seeds=[0]", "recipe lacks 'distilled'"),
        ('distilled="nowhere.py"', "nowhere.py"),
        ('distilled="students/small.py", seed=[0]', "no entry 'seed'; did you mean 'seeds'"),
        ('distilled="students/small.py", seeds=[1, 1]', "different whole numbers"),
        ('distilled="students/small.py", seeds=[]', "different whole numbers"),
        ('distilled="students/small.py", seeds=[0, -1]', "from 0 to 2"),
        ('distilled="students/small.py", export="yes"', "True or False"),
        ('distilled="students/small.py", input_size=64', "expected .H, W."),
        ('distilled="students/small.py", control=dict(scale=0)', "above 0"),
        ('distilled="students/small.py", control=dict(loss="x")', "no entry 'loss'"),
        ('distilled="students/small.py", prepare=["make data"]', "expected dict.run="),
        ('distilled="students/small.py", variants={"a/b": {}}', "becomes a folder"),
        ('distilled="students/small.py", variants=dict(a=dict(pair="x"))', "no entry 'pair'"),
        ('distilled="students/small.py", variants=dict(a=dict(pairs=[]))', "keeps no pair"),
    ],
)
def test_a_wrong_recipe_is_refused(write, entries, message):
    with pytest.raises(UserError, match=message):
        read_recipe(write(entries))
