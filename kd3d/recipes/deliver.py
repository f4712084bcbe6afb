"""After the runs: export and latency of teacher and student, and the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kd3d.errors import UserError
from kd3d.files import read_json, write_json
from kd3d.recipes.children import Command
from kd3d.recipes.crew import Crew, finish, run_all
from kd3d.recipes.execute import all_settings
from kd3d.recipes.plan import Run
from kd3d.recipes.run_folder import RunFolder, Stage
from kd3d.report.record import EXPORT_FILE

# The twins have the network of the distilled student: timed again, only the noise would differ.
EXPORTED = ("teacher", "distilled")
_RECORDS = (EXPORT_FILE, "record-latency-onnxruntime.json")


def export_roles(
    runs: Sequence[Run], work_dir: Path, *, input_size: tuple[int, int] | None, crew: Crew
) -> None:
    """Exports the teacher and the first distilled student, then times one after the other.

    What was exported from the same run at the same size stays.

    Args:
        runs: the whole plan; roles whose first run has not finished are left out.
        work_dir: of the recipe; results go to ``export/<role>``.
        input_size: (H, W) in pixels; None leaves it to tools/export.py and the config.
        crew: idle, so that nothing disturbs the timing.
    """
    settings = all_settings(runs)
    exports: dict[str, Command] = {}
    origins: dict[Path, dict[str, Any]] = {}
    for role in EXPORTED:
        run = next(run for run in runs if run.group == role)
        folder = RunFolder(work_dir / run.name)
        if folder.stage() is not Stage.FINISHED:
            crew.say(f"export of {role}: left out, {run.name} is not finished")
            continue
        out = work_dir / "export" / role
        origin = {"settings": settings[run.name], "input_size": input_size and list(input_size)}
        made = all((out / record).is_file() for record in _RECORDS)
        if made and read_json(out / "origin.json") == origin:
            continue
        exports[f"export of {role}"] = _export_command(run, folder, out, input_size, crew)
        origins[out] = origin
    run_all(crew, exports)
    for out, note in origins.items():
        benchmark = crew.machine.tool("benchmark.py", out, "--backend", "onnxruntime")
        latency = Command("latency", benchmark, out.with_name(f"{out.name}.log"))
        finish(crew, f"latency of {out.name}", [latency])
        write_json(out / "origin.json", note)


def report(work_dir: Path, crew: Crew) -> Path:
    """Makes the page and table of all records; returns their folder."""
    out = work_dir / "report"
    command = Command(
        "page and table",
        crew.machine.tool("report.py", work_dir, "--out", out),
        work_dir / "report.log",
    )
    finish(crew, "report", [command])
    return out


def _export_command(
    run: Run, folder: RunFolder, out: Path, input_size: tuple[int, int] | None, crew: Crew
) -> Command:
    config = folder.plan / f"{run.group}.py"
    checkpoint = run.published or run.checkpoint or folder.checkpoint()
    if checkpoint is None:
        raise UserError(f"{folder.path}: its checkpoint is gone, so it cannot be exported")
    argv = crew.machine.tool(
        "export.py",
        *(config, checkpoint, "--out", out, "--role", run.role, "--name", run.name),
        *(("--input-size", *input_size) if input_size else ()),
        "--force",
    )
    return Command("export", argv, out.with_name(f"{out.name}.log"))
