"""configs/README.md names every key of what a config may hold, and no other."""

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

from kd3d.distill import additional_labels, hook, hook_config, pair_config
from kd3d.distill.cache import CacheSettings
from kd3d.distill.schedules import Schedule
from kd3d.recipes.recipe import Control, Recipe, Variant

TEXT = (Path(__file__).resolve().parents[2] / "configs/README.md").read_text()


def keys(heading):
    """Of the first table below a heading, the names in its first column."""
    section = re.split(r"^#+ ", TEXT.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.M)[0]
    columns = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return sorted(key for column in columns for key in re.findall(r"`(\w+)`", column))


def named(kind):
    return {field.name for field in fields(kind)}


HOOK = set(inspect.signature(hook.DistillHook.__init__).parameters) - {"self"}
TABLES = {
    "`DistillHook`": HOOK,
    "`cache`": named(CacheSettings),
    "`pairs`": pair_config._KEYS,
    "`weight`, `temperature`": named(Schedule),
    "`additional_labels`": {"teacher", "unlabelled", *additional_labels._OPTIONS},
    "`recipe`": named(Recipe) - {"name"},
    "`control`": named(Control),
    "`variants`": named(Variant) - {"name"},
}


@pytest.mark.parametrize("heading", TABLES)
def test_every_key_has_its_row(heading):
    assert keys(heading) == sorted(TABLES[heading])


def test_every_key_of_a_teacher_is_taken():
    listed = keys("`teacher`")
    assert listed == ["cache", "checkpoint", "config", "num_classes"]
    whole = dict.fromkeys(listed, "given")
    assert hook_config.checked_teacher(whole, "hook") == whole
