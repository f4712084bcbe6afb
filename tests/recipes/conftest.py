import json
import textwrap
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from kd3d.recipes.crew import Machine

STUDENT = {
    "model": {"type": "Toy", "channels": 4},
    "train_dataloader": {"batch_size": 2},
    "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 100, "val_interval": 50},
    "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}},
    "param_scheduler": [{"type": "MultiStepLR", "milestones": [60, 80], "end": 100}],
    "test_dataloader": {"dataset": {"ann_file": "test.json"}},
    "test_evaluator": {"type": "CocoMetric"},
    "custom_hooks": [
        {"type": "EMAHook", "momentum": 0.1},
        {
            "type": "DistillHook",
            "teacher": {"config": "teacher.py", "checkpoint": "https://example.org/teacher.pth"},
            "pairs": [{"name": "neck", "student": "neck", "teacher": "neck"}],
        },
    ],
    "custom_imports": {"imports": ["kd3d.distill"], "allow_failed_imports": False},
}
TEACHER = {
    "model": {"type": "Toy", "channels": 64},
    "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 3},
    "test_dataloader": {"dataset": {"ann_file": "of-another-set.json"}},
    "custom_imports": {"imports": ["kd3d.models"]},
}

# Stand-ins for train.py and test.py: they write what the real ones leave, and note each call.
# orders.json tells what a run shall do: "fail", or "hang" with a
# checkpoint written, until a file "go" appears.
FAKE_TRAIN = """
    import argparse, json, pathlib, runpy, shutil, sys, time
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    for flag in ("--work-dir", "--seed", "--role", "--name"):
        parser.add_argument(flag)
    parser.add_argument("--resume")
    args = parser.parse_args()
    work = pathlib.Path(args.work_dir)
    here = pathlib.Path(__file__).parent
    order = json.loads((here / "orders.json").read_text()).get(args.name)
    with (here / "calls.txt").open("a") as calls:
        from_there = f" from {pathlib.Path(args.resume).name}" if args.resume else ""
        calls.write(f"train {args.name}{from_there}\\n")
    config = runpy.run_path(args.config)
    print("Iter(train) [ 50/100]  loss: 1.5")
    if order == "fail":
        sys.exit("error: the toy was told to fail")
    shutil.copy(here / "whole.pth", work / "iter_100.pth")
    (work / "note").write_text("/moved/since/iter_100.pth")
    (work / "note").rename(work / "last_checkpoint")  # whole, for a test that waits for it
    while order == "hang" and not (here / "go").exists():
        time.sleep(0.005)
    metrics = {"iterations": 100, "seconds_per_iter": 0.2}
    if args.role == "distilled":
        metrics.update(seconds_per_iter=0.25, gradient_scale=1.0 + int(args.seed) + 0.5)
    record = dict(kind="training", role=args.role, name=args.name, metrics=metrics, created="now")
    (work / "record-training.json").write_text(json.dumps(record))
"""
FAKE_TEST = """
    import argparse, json, pathlib
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    for flag in ("--work-dir", "--seed", "--role", "--name"):
        parser.add_argument(flag)
    args = parser.parse_args()
    with (pathlib.Path(__file__).parent / "calls.txt").open("a") as calls:
        calls.write(f"test {args.name} {args.checkpoint}\\n")
    ap = {"teacher": 40.0, "baseline": 20.0, "control": 25.0, "distilled": 30.0}[args.role]
    metrics = {"AP": ap + int(args.seed)}
    record = dict(kind="accuracy", role=args.role, name=args.name, metrics=metrics, created="now")
    record["seed"] = int(args.seed)
    if args.role == "control":
        record["dataset"] = {"synthetic": "yes"}
    path = pathlib.Path(args.work_dir) / "record-accuracy.json"
    path.write_text(json.dumps(record))
"""


class FakeTools:
    """A folder with stand-ins for the tools."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self.folder = folder
        self.order({})
        torch.save({"state_dict": {}}, folder / "whole.pth")
        self.add("train.py", FAKE_TRAIN)
        self.add("test.py", FAKE_TEST)

    def add(self, name: str, text: str) -> None:
        (self.folder / name).write_text(textwrap.dedent(text))

    def order(self, orders: dict[str, str]) -> None:
        (self.folder / "orders.json").write_text(json.dumps(orders))

    def calls(self) -> list[str]:
        """The calls since the last look."""
        path = self.folder / "calls.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def machine(self, **settings) -> Machine:
        return Machine(tools=self.folder, poll_s=0.005, **settings)


@pytest.fixture
def tools(tmp_path):
    return FakeTools(tmp_path / "tools")


@pytest.fixture
def distilled():
    return Config(STUDENT)


@pytest.fixture
def teacher():
    return Config(TEACHER)
