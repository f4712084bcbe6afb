"""What the READMEs point to is there: links, and the paths of tools, configs and tests."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("configs", "docker", "kd3d", "tests", "tools")
READMES = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "README.md",
    *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("README.md")),
]


def links(text):
    return [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]


def paths(text):
    """Files of the project that are named, with * for any; a folder counts, too."""
    return re.findall(r"(?<![\w/@.~-])(?:tools|configs|tests|docker)/[\w./*-]*\w", text)


def test_all_are_looked_at():
    names = [str(path.relative_to(ROOT)) for path in READMES]
    assert names == [
        "CONTRIBUTING.md",
        "README.md",
        "configs/README.md",
        "configs/recipes/README.md",
        "docker/README.md",
        "kd3d/backends/README.md",
        "kd3d/export/README.md",
        "kd3d/profiling/README.md",
    ]


@pytest.mark.parametrize("readme", READMES, ids=str)
def test_links_and_paths_exist(readme):
    text = readme.read_text(encoding="utf-8")
    broken = [link for link in links(text) if not (readme.parent / link).exists()]
    broken += [path for path in paths(text) if not any(ROOT.glob(path))]
    assert broken == []


def test_every_recipe_has_its_row():
    text = (ROOT / "configs/recipes/README.md").read_text(encoding="utf-8")
    recipes = [path.name for path in (ROOT / "configs/recipes").glob("*.py")]
    assert "demo.py" in recipes
    assert [name for name in recipes if f"`{name}`" not in text] == []
