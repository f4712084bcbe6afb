import os
import signal
from types import SimpleNamespace

import pytest
from mmengine.hooks import CheckpointHook, IterTimerHook

from kd3d.checkpoints import save_whole

pytestmark = pytest.mark.usefixtures("interrupts_heard")


def test_an_interrupt_waits_for_the_checkpoint(tmp_path, monkeypatch):
    """MMEngine writes the note that names a checkpoint last, after deleting the one before."""
    note = tmp_path / "last_checkpoint"

    def write(_self, _runner):
        note.write_text("")
        os.kill(os.getpid(), signal.SIGINT)
        note.write_text("iter_1.pth")

    monkeypatch.setattr(CheckpointHook, "_save_checkpoint", write)
    hook = CheckpointHook(interval=1, by_epoch=False)
    runner = SimpleNamespace(hooks=[IterTimerHook(), hook], iter=0, max_iters=9, logger=None)
    runner.logger = SimpleNamespace(info=print)
    with pytest.raises(KeyboardInterrupt):
        hook.after_train_iter(runner, 0)
    assert note.read_text() == ""
    save_whole(runner)
    with pytest.raises(KeyboardInterrupt):
        hook.after_train_iter(runner, 0)
    assert note.read_text() == "iter_1.pth"
