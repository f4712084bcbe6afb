import pytest

from kd3d.errors import UserError
from kd3d.report.chapters import chapters_of
from kd3d.report.output import write_report
from kd3d.report.record import Record, find_records


def recipe(work, name):
    """Makes the work dir that of a whole recipe."""
    record = Record(kind="recipe", role="", name=name, metrics={"wall_clock_s": 1.0})
    record.write(work / "record-recipe.json")
    return work


@pytest.fixture
def works(tmp_path, make_work_dir):
    return [recipe(make_work_dir(tmp_path / name), name) for name in ("many", "few")]


def test_several_recipes_are_chapters_with_an_overview(tmp_path, works):
    out = tmp_path / "report"
    paths = write_report(works, out)
    names = ["index.html", "many.html", "few.html", "report.md", "records.json"]
    assert [path.name for path in paths] == names
    first = paths[0].read_text()
    assert first.count('<p class="headline">Over 3 seeds') == 2
    assert 'href="few.html"' in first
    assert "<h1>kd3d report: few</h1>" in paths[2].read_text()
    text = paths[3].read_text()
    assert text.index("## many") < text.index("## few")
    assert text.count("| distilled |") == 2
    assert write_report(works, out) == paths  # an earlier report is replaced
    (out / "index.html").unlink()
    with pytest.raises(UserError, match=r"has many.html, few.html, .* no earlier report"):
        write_report(works, out)


def test_one_recipe_or_parts_of_one_are_no_chapters(works):
    many, few = map(find_records, works)
    assert chapters_of([many]) == []
    assert [chapter.name for chapter in chapters_of([many, few])] == ["many", "few"]
    (works[1] / "record-recipe.json").unlink()
    assert chapters_of([many, find_records(works[1])]) == []


def test_a_name_that_leads_elsewhere_is_refused(tmp_path, works):
    recipe(works[1], "../few")
    with pytest.raises(UserError, match=r"names it '\.\./few'"):
        write_report(works, tmp_path / "report")


def test_two_recipes_of_one_name_are_refused(tmp_path, works):
    recipe(works[1], "many")
    with pytest.raises(UserError, match="a recipe named 'many'"):
        write_report(works, tmp_path / "report")
