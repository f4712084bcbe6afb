"""Executing a plan: what is finished stays, what was interrupted resumes, the rest is run."""

import fcntl
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from kd3d.errors import UserError
from kd3d.recipes.children import Command
from kd3d.recipes.crew import Crew, Machine
from kd3d.recipes.outlook import Outlook, minutes
from kd3d.recipes.plan import Pace, Run, complete
from kd3d.recipes.progress import (
    ACCURACY,
    RunFolder,
    Settings,
    Stage,
    settings_of,
    write_config,
)
from kd3d.report.record import Record


def execute(
    runs: Sequence[Run],
    selected: Sequence[Run],
    work_dir: Path,
    *,
    crew: Crew,
    force: bool = False,
    exports: int = 0,
) -> None:
    """Runs what is selected and not finished.

    Args:
        runs: the whole plan.
        selected: what to do of it now.
        work_dir: of the recipe.
        crew: starts and watches the children.
        force: delete and repeat selected runs that were made with other settings.
        exports: that will follow, for the estimate of the rest.

    Raises:
        UserError: a selected run was made with other settings, needs one that is neither
            selected nor finished, or failed.
    """
    settings = all_settings(runs)
    folders = {run.name: RunFolder(work_dir / run.name) for run in runs}
    for run in selected:
        folders[run.name].check(settings[run.name], force=force)
    finished = {
        run.name
        for run in runs
        if folders[run.name].is_of(settings[run.name])
        and folders[run.name].stage() is Stage.FINISHED
    }
    pending = [run for run in selected if run.name not in finished]
    _check_needs(pending, finished)
    crew.say(f"runs: {len(selected)}, finished before: {len(selected) - len(pending)}")
    lengths = {run.name: _length(run) for run in pending}
    outlook = Outlook(lengths, jobs=crew.machine.jobs, exports=exports)
    while pending or not crew.is_idle:
        for run in [run for run in pending if finished.issuperset(run.needs)]:
            if not crew.is_full:
                folder = folders[run.name]
                folder.claim(settings[run.name], force=force)
                paces = {name: folders[name].pace() for name in _measuring(run)}
                crew.start(run.name, _commands(run, folder, paces, crew.machine))
                pending.remove(run)
        for name, duration_s in crew.wait(outlook.text).items():
            finished.add(name)
            outlook.end(name, duration_s)
            record = Record.read(folders[name].path / ACCURACY)
            value = record.metrics.get(record.headline)
            score = f"no {record.headline}" if value is None else f"{record.headline} {value:.1f}"
            crew.say(f"{name}: {score}, took {minutes(duration_s)}")


def all_settings(runs: Sequence[Run]) -> dict[str, Settings]:
    """The settings of every run of a plan, by name."""
    settings: dict[str, Settings] = {}
    for run in runs:
        settings[run.name] = settings_of(run, settings)
    return settings


@contextmanager
def only_command_in(work_dir: Path) -> Iterator[None]:
    """Refuses to work where another recipe command is at work.

    Raises:
        UserError: one is.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    with (work_dir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{work_dir}: another recipe command is at work here; wait for it, or use "
                "another --work-dir"
            ) from None
        yield


def _length(run: Run) -> float:
    """Of its training, in iterations or epochs; 0 where there is none."""
    loop = (run.train.get("train_cfg") if run.train is not None else None) or {}
    return float(loop.get("max_iters") or loop.get("max_epochs") or 0)


def _measuring(run: Run) -> set[str]:
    """The runs whose measurements complete this one's config."""
    return {*filter(None, [run.scale_from]), *(run.pace_from or ())}


def _check_needs(pending: Sequence[Run], finished: set[str]) -> None:
    coming = {run.name for run in pending}
    for run in pending:
        for name in run.needs:
            if name not in finished and name not in coming:
                group = name.split("/")[0]
                raise UserError(
                    f"{run.name} needs {name}, which is not finished with this config; "
                    f"add {group} to --only, or leave --only out"
                )


def _commands(
    run: Run, folder: RunFolder, paces: Mapping[str, Pace], machine: Machine
) -> Iterator[Command]:
    """Training, then evaluation, as far as they are still to be done."""
    test, checkpoint = run.test, run.checkpoint
    test_path = folder.plan / f"{run.group}.py"
    labels = ("--work-dir", folder.path, "--seed", run.seed, "--role", run.role, "--name", run.name)
    if run.train is not None:
        config = complete(run.train, run, paces)
        train_path = test_path if test is None else folder.plan / f"{run.group}-train.py"
        write_config(config, train_path)
        stage = folder.stage()
        if stage in (Stage.NEW, Stage.INTERRUPTED):
            resume = ("--resume",) if stage is Stage.INTERRUPTED else ()
            yield Command(
                "training, resumed" if resume else "training",
                machine.training(train_path, *labels, *resume),
                folder.path / "train.log",
                trains=True,
                epochs=(config.get("train_cfg") or {}).get("max_epochs"),
            )
        checkpoint = _final_weights(run, folder)
    if test is not None:
        write_config(test, test_path)
    yield Command(
        "evaluation",
        machine.tool("test.py", test_path, checkpoint, *labels),
        folder.path / "test.log",
    )


def _final_weights(run: Run, folder: RunFolder) -> str:
    checkpoint = folder.checkpoint()
    if checkpoint is None:
        raise UserError(
            f"{run.name}: the training ended without a checkpoint in {folder.path}; its config "
            "needs default_hooks.checkpoint"
        )
    if run.published is None:
        return str(checkpoint)
    partial = run.published.with_suffix(".partial")
    shutil.copyfile(checkpoint, partial)
    partial.replace(run.published)
    return str(run.published)
