"""Runs that go on from what the same runs of an earlier recipe have come to."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kd3d.errors import UserError
from kd3d.recipes.plan import Run
from kd3d.recipes.run_folder import RunFolder, Stage

_START = "train.load_from"  # in the settings of a run


def continued(
    runs: Sequence[Run], earlier: str, work_dir: Path, wanted: Sequence[Run]
) -> list[Run]:
    """The plan with each student's ``load_from`` set to the weights of its forerunner.

    So twins stay twins: a baseline goes on from a baseline, seed by seed. Runs that the earlier
    recipe has none of that name of (of equal wall clock, variants) go on from the one of their
    role. One that has begun keeps its start, also where the forerunner is gone since.

    Args:
        runs: the whole plan.
        earlier: work dir of the recipe that is continued; "" for none.
        work_dir: of this recipe.
        wanted: what will be run, of which all must have a forerunner or have begun.

    Raises:
        UserError: one has none whose training has ended.
    """
    if not earlier:
        return list(runs)
    names = {run.name for run in wanted}
    return [
        run
        if run.train is None or run.role == "teacher"
        else _from(run, Path(earlier), RunFolder(work_dir / run.name), required=run.name in names)
        for run in runs
    ]


def _from(run: Run, earlier: Path, own: RunFolder, *, required: bool) -> Run:
    weights = _last(earlier, run) or _noted(own)
    if weights is None:
        if required:
            raise UserError(
                f"{earlier / run.name}: no training that has ended, which {run.name} would "
                f"continue; run the recipe of {earlier} first, with its {run.role} and seed "
                f"{run.seed}"
            )
        return run
    train = copy.deepcopy(run.train)
    assert train is not None
    train.load_from = weights
    return replace(run, train=train)


def _noted(own: RunFolder) -> str | None:
    """What a run that has begun started from."""
    settings = own.settings() if own.stage() is not Stage.NEW else None
    return (settings or {}).get(_START)


def _last(earlier: Path, run: Run) -> str | None:
    """The last weights of the run of this name, or else of this role and seed."""
    for name in (run.name, f"{run.role}/seed{run.seed}"):
        folder = RunFolder(earlier / name)
        ended = folder.stage() in (Stage.TRAINED, Stage.FINISHED)
        weights = folder.checkpoint() if ended else None
        if weights is not None:
            return str(weights)
    return None
