"""Executing a plan: what is finished stays, what was interrupted resumes, the rest is run."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from kd3d.errors import UserError
from kd3d.files import sha256_of
from kd3d.recipes.children import Command
from kd3d.recipes.crew import Crew, Machine
from kd3d.recipes.outlook import Outlook, minutes
from kd3d.recipes.plan import Pace, Run, complete
from kd3d.recipes.run_folder import RunFolder, Settings, Stage, settings_of, write_config
from kd3d.report.record import ACCURACY_FILE, Record


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
    for name in finished:
        folders[name].note(settings[name])  # what a run of before did not know
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
            record = Record.read(folders[name].path / ACCURACY_FILE)
            value = record.metrics.get(record.headline)
            score = f"no {record.headline}" if value is None else f"{record.headline} {value:.1f}"
            world = " (synthetic world)" if record.dataset.get("synthetic") == "yes" else ""
            crew.say(f"{name}: {score}{world}, took {minutes(duration_s)}")


def all_settings(runs: Sequence[Run]) -> dict[str, Settings]:
    """The settings of every run of a plan, by name."""
    settings: dict[str, Settings] = {}
    weights = {run.name: run.published or Path(run.checkpoint) for run in runs}
    hash_of = cache(sha256_of)  # many runs read the same weights
    for run in runs:
        covered = [weights[name] for name in run.needs]
        settings[run.name] = settings_of(run, settings, covered=covered, hash_of=hash_of)
    return settings


@contextmanager
def only_command_in(work_dir: Path) -> Iterator[int]:
    """Refuses to work where another recipe command is at work, or what one has left running.

    Yields:
        A descriptor for all children. As long as one of them has it, no other command works here,
        even if this one is killed.

    Raises:
        UserError: one is.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    # two files, for who holds which tells whether there is a command that looks after the children
    with (work_dir / ".lock").open("w") as own, (work_dir / ".lock-children").open("w") as shared:
        if not _locked(own):
            raise UserError(
                f"{work_dir}: another recipe command is at work here; wait for it, or use "
                "another --work-dir"
            )
        if not _locked(shared):
            groups = " ".join(f"-{group}" for group in _groups_with(Path(shared.name)))
            raise UserError(
                f"{work_dir}: a training (or evaluation, export) of an earlier command, which was "
                "killed, still runs here; wait until it has ended, or end it"
                f"{f': kill -TERM {groups}' if groups else ''}. Then run the same command again, "
                "or use another --work-dir"
            )
        yield shared.fileno()


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _groups_with(file: Path) -> list[int]:
    """Groups of other processes that have the file open, as far as /proc tells."""
    found, target = set(), file.resolve()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # another user's, or it has ended
            for link in list((process / "fd").iterdir()):
                with suppress(FileNotFoundError):  # closed meanwhile
                    if link.readlink() == target and int(process.name) != os.getpid():
                        found.add(os.getpgid(int(process.name)))
    return sorted(found)


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
            begun = folder.checkpoint() if stage is Stage.INTERRUPTED else None
            resume = () if begun is None else ("--resume", begun)
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
