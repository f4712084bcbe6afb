"""Writes a report: index.html, report.md and records.json; of several recipes a page each."""

import dataclasses
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kd3d.errors import UserError
from kd3d.files import write_json, write_text
from kd3d.report.ablation import ablation_table
from kd3d.report.chapters import Chapter, chapters_of, overview
from kd3d.report.details import parity_table
from kd3d.report.headline import caveats, headline
from kd3d.report.page import GENERATOR, page
from kd3d.report.record import Record, find_records
from kd3d.report.summary import Summary, summarize
from kd3d.report.table import markdown, summary_table

PAGE, TEXT, RECORDS = "index.html", "report.md", "records.json"


def write_report(
    work_dirs: Sequence[str | Path], out: str | Path, *, force: bool = False
) -> list[Path]:
    """Writes the report of all records at or below some folders.

    Folders of several whole recipes are chapters: a page each, ``<recipe>.html``, and an
    overview of their results. Other folders are compared with each other on one page.

    A report is derived from its records, so an earlier report in ``out`` is replaced. Files of
    the same names that are no report of ours are kept, unless ``force``.

    Args:
        work_dirs: of one recipe, of several, or of single runs to be compared.
        out: folder for the files.
        force: replace files that are not an earlier report.

    Returns:
        Paths written: the page, those of the chapters, the text, the records.

    Raises:
        UserError: if a folder has no records, two records claim one run, two recipes have one
            name, or ``out`` is taken.
    """
    found = [_records(folder) for folder in work_dirs]
    out = Path(out)
    command = shlex.join(
        ["python", "tools/report.py", *(str(folder) for folder in work_dirs), "--out", str(out)]
    )
    records = {path: record for each in found for path, record in each.items()}
    chapters = chapters_of(found)
    pages = {f"{chapter.name}.html": _chapter_page(chapter, command) for chapter in chapters}
    if not force:
        _refuse_foreign(out, pages)
    if chapters:
        first = overview(chapters, command=command)
        text = "\n\n".join(f"## {c.name}\n\n{_text(c.summary)}" for c in chapters)
    else:
        summary = summarize(records)
        first, text = page(summary, records, command=command), _text(summary)
    made = f"Made by `{command}`; charts, images and conditions: [{PAGE}]({PAGE})."
    return [
        write_text(out / PAGE, first),
        *(write_text(out / name, html) for name, html in pages.items()),
        write_text(out / TEXT, f"# kd3d report\n\n{text}\n\n{made}\n"),
        write_json(out / RECORDS, [dataclasses.asdict(record) for record in records.values()]),
    ]


def _chapter_page(chapter: Chapter, command: str) -> str:
    return page(chapter.summary, chapter.records, command=command, title=chapter.name)


def _text(summary: Summary) -> str:
    ablation, parity = ablation_table(summary), parity_table(summary)
    parts = [
        headline(summary),
        "\n".join(f"- {sentence}" for sentence in caveats(summary)),
        markdown(summary_table(summary)).strip(),
        "" if ablation is None else f"Ablation:\n\n{markdown(ablation).strip()}",
        "" if parity is None else f"Parity of the exports:\n\n{markdown(parity).strip()}",
    ]
    return "\n\n".join(part for part in parts if part)


def _records(folder: str | Path) -> Mapping[Path, Record]:
    found = find_records(folder)
    if not found:
        raise UserError(
            f"{folder}: expected records (record-*.json) at or below it, found none; "
            "tools/test.py or tools/run_recipe.py write them"
        )
    return found


def _refuse_foreign(out: Path, pages: Iterable[str]) -> None:
    taken = [name for name in (PAGE, *pages, TEXT, RECORDS) if (out / name).exists()]
    earlier = (out / PAGE).is_file() and GENERATOR in (out / PAGE).read_text(errors="replace")
    if taken and not earlier:
        raise UserError(
            f"{out}: has {', '.join(taken)}, which is no earlier report; choose another --out, "
            "or replace them with --force"
        )
