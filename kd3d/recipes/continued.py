"""Runs that go on from what the same runs of an earlier recipe have come to."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kd3d.errors import UserError
from kd3d.recipes.plan import Run
from kd3d.recipes.progress import RunFolder, Stage


def continued(runs: Sequence[Run], earlier: str, wanted: Sequence[Run]) -> list[Run]:
    """The plan with each student's ``load_from`` set to the weights of its forerunner.

    So twins stay twins: a baseline goes on from a baseline, seed by seed.

    Args:
        runs: the whole plan.
        earlier: work dir of the recipe that is continued; "" for none.
        wanted: what will be run, of which all must have a forerunner.

    Raises:
        UserError: one has none whose training has ended.
    """
    if not earlier:
        return list(runs)
    names = {run.name for run in wanted}
    return [_from(run, Path(earlier), required=run.name in names) for run in runs]


def _from(run: Run, earlier: Path, *, required: bool) -> Run:
    if run.train is None or run.role == "teacher":
        return run
    folder = RunFolder(earlier / run.name)
    ended = folder.stage() in (Stage.TRAINED, Stage.FINISHED)
    weights = folder.checkpoint() if ended else None
    if weights is None:
        if required:
            raise UserError(
                f"{folder.path}: no training that has ended, which {run.name} would continue; run "
                f"the recipe of {earlier} first, with --only {run.group} and these seeds"
            )
        return run
    train = copy.deepcopy(run.train)
    train.load_from = str(weights)
    return replace(run, train=train)
