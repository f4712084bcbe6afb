"""Exact resuming: the random numbers an uninterrupted run would have drawn.

MMEngine restores weights, optimizer and schedules, and an iteration-based loop replays the data
loader, but it starts the generators anew. This carries them in the checkpoint. Exact for one
process: for ``IterBasedTrainLoop`` at any iteration, for ``EpochBasedTrainLoop`` at epoch ends
(with persistent workers the augmentations inside the workers start anew; a warning says so).
"""

from typing import Any

import torch
from mmengine.runner import EpochBasedTrainLoop

from kd3d.distill import random_state


class ResumedRandomness:
    """Captures the generators at each checkpoint and restores them at the right moments."""

    def __init__(self) -> None:
        self._pending: random_state.State | None = None
        self._state: random_state.State | None = None
        self._validated = False
        self._neutral_validation = False
        self._before_validation: random_state.State | None = None

    def state(self, runner: Any) -> dict[str, Any] | None:
        """What a checkpoint written now has to hold; None on several processes."""
        if runner.world_size > 1:
            return None
        return {"generators": random_state.capture(), "validated": self._validated}

    def load(self, runner: Any, state: dict[str, Any] | None) -> None:
        """Takes what a checkpoint held; it is put in force when training begins."""
        if state is None:
            runner.logger.warning(
                "resuming without random state (several processes): the run goes on correctly, "
                "but not bit for bit as it would have without the stop"
            )
            return
        self._pending = state
        self._validated = state["validated"]

    def before_train_epoch(self, runner: Any) -> None:
        """Epoch-based: the loader is about to draw, so all generators go back now."""
        if self._pending is None:
            return
        generators = self._pending["generators"]
        self._pending = None
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._warn(runner)
            random_state.restore(generators)
            self._replay_validation(runner)
            if getattr(runner.train_dataloader, "persistent_workers", False):
                self._state = random_state.capture()
        else:
            # MMEngine replays the loader next, which brings NumPy's and Python's generators to
            # where they were; torch's follows before the batch after those.
            with random_state.preserved():
                random_state.restore_torch(generators)
                self._replay_validation(runner)
                state = random_state.capture()
            loop = runner.train_loop
            loop.dataloader_iterator = _ReplayedBatches(loop, state)

    def before_train_iter(self) -> None:
        """First iteration with persistent workers: torch's generators go back."""
        if self._state is not None:
            random_state.restore_torch(self._state)
            self._state = None

    def before_val(self) -> None:
        """Remembers the generators where the uninterrupted run would draw nothing."""
        if self._neutral_validation:
            self._before_validation = random_state.capture()

    def after_val(self) -> None:
        """See :meth:`before_val`."""
        self._validated = True
        if self._before_validation is not None:
            random_state.restore_torch(self._before_validation)
            self._before_validation, self._neutral_validation = None, False

    def _replay_validation(self, runner: Any) -> None:
        """A loader draws one number when it is first iterated; validation follows a checkpoint."""
        loop, val = runner.train_loop, runner.val_loop
        if val is None:
            return
        epochs = isinstance(loop, EpochBasedTrainLoop)
        done = loop.epoch if epochs else loop.iter
        last = done == (loop.max_epochs if epochs else loop.max_iters)
        follows = done >= loop.val_begin and (done % loop.val_interval == 0 or last)
        persistent = getattr(val.dataloader, "persistent_workers", False)
        if follows and not (persistent and self._validated):
            torch.empty((), dtype=torch.int64).random_()
        self._neutral_validation = persistent and (follows or self._validated)
        self._validated = self._validated or follows

    @staticmethod
    def _warn(runner: Any) -> None:
        loader = runner.train_dataloader
        if runner.iter % max(len(loader), 1):
            runner.logger.warning(
                f"resuming inside an epoch (iteration {runner.iter} of {len(loader)} a epoch): "
                "MMEngine begins the epoch again; save checkpoints by epoch, or use "
                "IterBasedTrainLoop, to resume exactly"
            )
        elif loader.num_workers and loader.persistent_workers:
            runner.logger.warning(
                "persistent workers draw their augmentations anew after a resume; set "
                "persistent_workers=False to resume bit for bit"
            )


class _ReplayedBatches:
    """In the place of a loop's batches until those of before the checkpoint have been drawn.

    A transform may draw from torch's generator, as the model does (PointShuffle without workers),
    so that it has to be where it was before the next batch is drawn.

    Args:
        loop: an ``IterBasedTrainLoop``, which gets its own batches back.
        state: of torch's generators when the checkpoint was written.
    """

    def __init__(self, loop: Any, state: random_state.State) -> None:
        self._loop, self._state = loop, state
        self._batches, self._left = loop.dataloader_iterator, loop.iter

    def __iter__(self) -> "_ReplayedBatches":
        return self

    def __next__(self) -> Any:  # Any: a batch as the loader collates it
        if self._left == 0:
            random_state.restore_torch(self._state)
            self._loop.dataloader_iterator = self._batches
        self._left -= 1
        return next(self._batches)
