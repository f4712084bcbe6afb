import re
from html.parser import HTMLParser

from nuscenes_work import fabricate_nuscenes

from kd3d.report.page import MAX_CLASSES, page
from kd3d.report.record import Record, find_records
from kd3d.report.summary import summarize

SECTIONS = [
    "Result",
    "AP of each seed",
    "Loss of each pair",
    "Losses of the students&#x27; own task",
    "AP of each class",
    "Images",
    "Training",
    "Latency",
    "Environment",
    "Conditions",
    "Commands",
    "Records",
]


class Balance(HTMLParser):
    """Fails where tags do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """An element without content, as SVG writes it."""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page_of(records: dict) -> str:
    html = page(summarize(records), records, command="python tools/report.py")
    balance = Balance()
    balance.feed(html)
    assert balance.open == []
    return html


def test_a_whole_recipe_has_every_section_and_needs_nothing_from_elsewhere(tmp_path, make_work_dir):
    html = page_of(find_records(make_work_dir(tmp_path)))
    assert re.findall("<h2>(.*?)</h2>", html) == SECTIONS
    assert 'class="missing"' not in html
    links = re.findall(r'(?:href|src)="([^"]*)"', html)
    assert links
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in links)
    assert "<script" not in html
    assert "@import" not in html
    assert "url(" not in html


def test_missing_parts_are_sentences_with_a_command(tmp_path, make_accuracy):
    record = make_accuracy(
        "distilled", 0, 30.0, tmp_path, per_class={}, files={}, environment={}, conditions={}
    )
    html = page_of({tmp_path / "record-accuracy.json": record})
    said = re.findall('<p class="missing">(.*?)</p>', html)
    # pair and task losses, classes, images, training, latency, environment, conditions
    assert len(said) == 8
    assert sum("tools/" in sentence for sentence in said) == 6
    assert "No gain shown: teacher and baseline and control missing." in html


def test_text_from_records_is_escaped(tmp_path, make_accuracy):
    evil = "<script>alert('x')</script>"
    record = make_accuracy(
        "",
        0,
        30.0,
        tmp_path,
        name=evil,
        per_class={evil: {"AP": 1.0}},
        config=evil,
        environment={evil: evil},
        conditions={"command": evil, "max_epochs": evil},
    )
    html = page_of({tmp_path / evil.replace("/", ""): record})
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_of_many_classes_those_that_differ_most_are_shown(tmp_path, make_accuracy):
    names = [f"class{n:02}" for n in range(30)]
    flat = {name: {"AP": 10.0} for name in names}
    raised = {name: {"AP": 10.0 + n} for n, name in enumerate(names)}
    records = {
        tmp_path / role: make_accuracy(role, 0, 20.0, tmp_path, per_class=per_class)
        for role, per_class in (("baseline", flat), ("distilled", raised))
    }
    html = page_of(records)
    assert f"The {MAX_CLASSES} of 30 classes" in html
    shown = set(re.findall(r"<title>(class\d+), distilled", html))
    assert shown == set(names[-MAX_CLASSES:])


def test_differing_environments_are_both_shown(tmp_path, make_accuracy):
    records = {
        tmp_path / cpu: make_accuracy("baseline", seed, 20.0, tmp_path, environment={"cpu": cpu})
        for seed, cpu in enumerate(("one", "two"))
    }
    assert "<dt>cpu</dt><dd>one; two</dd>" in page_of(records)


def test_the_time_of_a_recipe_is_shown_where_a_record_tells_it(tmp_path, make_work_dir):
    records = find_records(make_work_dir(tmp_path))
    metrics = {"wall_clock_s": 690.0, "data_s": 30.0, "runs_s": 600.0, "export_s": 60.0}
    records[tmp_path / "record-recipe.json"] = Record(
        kind="recipe", role="", name="demo", metrics=metrics, conditions={"jobs": 2}
    )
    html = page_of(records)
    assert "<td>demo</td><td>11.5</td><td>data 0.5, runs 10.0, export 1.0</td>" in html
    assert "? cores, jobs 2" in html


def test_a_page_of_nuscenes_has_its_sections_and_says_that_the_world_is_made_up(tmp_path):
    html = page_of(find_records(fabricate_nuscenes(tmp_path, variant=True)))
    found = re.findall("<h2>(.*?)</h2>", html)
    assert "Images" not in found
    assert [title for title in found if title not in SECTIONS] == [
        *("NDS of each seed", "Ablation", "Seen from above", "Parts of NDS"),
        *("Precision over recall", "Classes and distances"),
    ]
    assert html.count("Synthetic world.") == 4
    assert "Measured in a synthetic world." in html
    links = re.findall(r'(?:href|src)="([^"]*)"', html)
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in links)
