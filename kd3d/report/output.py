"""Writes a report: index.html, report.md and records.json."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from kd3d.errors import UserError
from kd3d.files import write_json, write_text
from kd3d.report.ablation import ablation_table
from kd3d.report.headline import caveats, headline
from kd3d.report.page import GENERATOR, page
from kd3d.report.record import Record, find_records
from kd3d.report.summary import summarize
from kd3d.report.table import markdown, summary_table

PAGE, TEXT, RECORDS = "index.html", "report.md", "records.json"


def write_report(
    work_dirs: Sequence[str | Path], out: str | Path, *, force: bool = False
) -> list[Path]:
    """Writes the report of all records at or below some folders.

    A report is derived from its records, so an earlier report in ``out`` is replaced. Files of
    the same names that are no report of ours are kept, unless ``force``.

    Args:
        work_dirs: of one recipe, or of single runs to be compared.
        out: folder for the three files.
        force: replace files that are not an earlier report.

    Returns:
        Paths written: the page, the text, the records.

    Raises:
        UserError: if a folder has no records, two records claim one run, or ``out`` is taken.
    """
    records = _collect(work_dirs)
    out = Path(out)
    if not force:
        _refuse_foreign(out)
    summary = summarize(records)
    folders = [str(folder) for folder in work_dirs]
    command = shlex.join(["python", "tools/report.py", *folders, "--out", str(out)])
    ablation = ablation_table(summary)
    text = [
        "# kd3d report",
        headline(summary),
        "\n".join(f"- {sentence}" for sentence in caveats(summary)),
        markdown(summary_table(summary)).strip(),
        "" if ablation is None else f"## Ablation\n\n{markdown(ablation).strip()}",
        f"Made by `{command}`; charts, images and conditions: [{PAGE}]({PAGE}).",
    ]
    return [
        write_text(out / PAGE, page(summary, records, command=command)),
        write_text(out / TEXT, "\n\n".join(part for part in text if part) + "\n"),
        write_json(out / RECORDS, [dataclasses.asdict(record) for record in records.values()]),
    ]


def _collect(work_dirs: Sequence[str | Path]) -> dict[Path, Record]:
    records: dict[Path, Record] = {}
    for folder in work_dirs:
        found = find_records(folder)
        if not found:
            raise UserError(
                f"{folder}: expected records (record-*.json) at or below it, found none; "
                "tools/test.py or tools/run_recipe.py write them"
            )
        records.update(found)
    return records


def _refuse_foreign(out: Path) -> None:
    taken = [name for name in (PAGE, TEXT, RECORDS) if (out / name).exists()]
    earlier = (out / PAGE).is_file() and GENERATOR in (out / PAGE).read_text(errors="replace")
    if taken and not earlier:
        raise UserError(
            f"{out}: has {', '.join(taken)}, which is no earlier report; choose another --out, "
            "or replace them with --force"
        )
