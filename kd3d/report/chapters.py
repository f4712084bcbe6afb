"""Several recipes in one report: a chapter each, and an overview of what they showed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from kd3d.errors import UserError
from kd3d.report.ablation import ablation_table
from kd3d.report.headline import headline
from kd3d.report.page import document, section, table_html
from kd3d.report.record import Record
from kd3d.report.summary import Summary, summarize
from kd3d.report.table import summary_table


@dataclass(frozen=True)
class Chapter:
    """One recipe: its name, its records by path, and what they say."""

    name: str
    records: Mapping[Path, Record]
    summary: Summary


def chapters_of(folders: Sequence[Mapping[Path, Record]]) -> list[Chapter]:
    """A chapter a folder where there are several and each holds one whole recipe; else none.

    Raises:
        UserError: two recipes have one name, or one has a name that is no file name.
    """
    names = [[r.name for r in records.values() if r.kind == "recipe"] for records in folders]
    if len(folders) < 2 or any(len(found) != 1 for found in names):
        return []
    chapters = [
        Chapter(name, records, summarize(records))
        for (name,), records in zip(names, folders, strict=True)
    ]
    for chapter in chapters:
        if Path(chapter.name).name != chapter.name:
            raise UserError(f"a recipe's record names it {chapter.name!r}, expected a file's name")
        if sum(other.name == chapter.name for other in chapters) > 1:
            raise UserError(
                f"two of the folders hold a recipe named {chapter.name!r}; report one of them, "
                "or run them from recipe files of different names"
            )
    return chapters


def overview(chapters: Sequence[Chapter], *, command: str) -> str:
    """The page that leads to the chapters: each result in a sentence and a table.

    Args:
        chapters: in their order; ``<name>.html`` lies beside the page.
        command: that makes this page, to be printed on it.
    """
    body = ["<h1>kd3d report</h1>"]
    for chapter in chapters:
        ablation = ablation_table(chapter.summary)
        body.append(
            section(
                chapter.name,
                f'<p class="headline">{escape(headline(chapter.summary))}</p>'
                + table_html(summary_table(chapter.summary))
                + ("" if ablation is None else table_html(ablation))
                + f'<p><a href="{escape(chapter.name)}.html">What limits this result, charts, '
                "pictures, conditions</a></p>",
            )
        )
    return document([*body, section("Commands", f"<pre>{escape(command)}</pre>")])
