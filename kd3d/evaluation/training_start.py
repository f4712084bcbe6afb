"""What a training starts from: a checkpoint to resume, weights to load, or nothing."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.runner import Runner, find_latest_checkpoint

from kd3d.checkpoints import load_checkpoint, load_weights, unwrapped
from kd3d.errors import UserError
from kd3d.report.record import TRAINING_FILE


def check_start(runner: Runner) -> None:
    """Asks of ``resume`` and ``load_from`` what MMEngine would only log, or not notice.

    Raises:
        UserError: if nothing can be resumed from the checkpoint, nothing is left to train, or
            none of the weights fit.
    """
    if runner._resume:
        _check_resumable(runner)
    elif runner._load_from and is_main_process():
        _check_weights(runner)


def how_to_go_on(work_dir: str | Path) -> str:
    """After an interrupt."""
    if (Path(work_dir) / "last_checkpoint").is_file():
        return "add --resume to the same command to go on from the last checkpoint"
    return "there is no checkpoint yet: run the same command again to start anew"


def _check_resumable(runner: Runner) -> None:
    """MMEngine would load what fits and only log the rest."""
    path = runner._load_from or find_latest_checkpoint(runner.work_dir)
    if path is None:
        print(f"nothing to resume in {runner.work_dir}: starting at iteration 0")
        return
    checkpoint = load_checkpoint(path)
    load_weights(
        _model(runner), checkpoint["state_dict"], where=f"checkpoint {path}", in_order=True
    )
    absent = {"meta", "optimizer"} - set(checkpoint)
    if absent:
        raise UserError(
            f"checkpoint {path}: it holds weights but no {', '.join(sorted(absent))}, so no "
            "training can be resumed from it; start from it by --cfg-options load_from=..."
        )
    _check_rest(runner, path, checkpoint["meta"])


def _check_rest(runner: Runner, path: str, meta: Mapping[str, Any]) -> None:  # Any: MMEngine's
    """Whether something is left to train, or to record."""
    limits = runner.cfg.train_cfg
    limit = "max_iters" if limits.get("max_iters") else "max_epochs"
    last, reached = limits.get(limit), meta["iter" if limit == "max_iters" else "epoch"]
    if not last or reached < last:
        return
    folder = Path(runner.work_dir)
    own = Path(path).resolve().parent == folder.resolve()
    unrecorded = own and not (folder / TRAINING_FILE).exists()
    if reached == last and unrecorded:  # it was ended between its last checkpoint and its record
        return
    raise UserError(
        f"checkpoint {path}: it is at {reached} of train_cfg.{limit}={last}, nothing is left to "
        f"train; set more by --cfg-options train_cfg.{limit}=..., or resume an earlier checkpoint"
    )


def _check_weights(runner: Runner) -> None:
    """MMEngine loads what fits, and begins with what does not as the config initialises it."""
    path = str(runner._load_from)
    if "://" in path and not path.startswith(("http://", "https://")):
        return  # one of MMEngine's own places
    state, model = unwrapped(load_checkpoint(path)["state_dict"]), _model(runner)
    where = f"load_from, checkpoint {path}"
    try:
        load_weights(model, state, where=where)
    except UserError as error:
        own = model.state_dict()
        fit = [key for key, value in own.items() if key in state and _fits(value, state[key])]
        if not any(own[key].dim() > 1 for key in fit):  # biases and counters fit anything
            raise UserError(
                f"{error}; a backbone alone is loaded by its init_cfg=dict(type='Pretrained', ...)"
            ) from None
        if len(fit) == len(own):  # what the file holds beside them starts nothing
            return
        warnings.warn(
            f"{where}: {len(fit)} of the model's {len(own)} weights fit, the others start as the "
            f"config initialises them: {error}",
            stacklevel=3,
        )


def _fits(own: Any, given: Any) -> bool:  # Any: tensors, or what else a file holds
    return bool(getattr(given, "shape", None) == own.shape)


def _model(runner: Runner) -> Any:  # Any: a detector
    return getattr(runner.model, "module", runner.model)
