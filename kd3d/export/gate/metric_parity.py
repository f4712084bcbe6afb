"""The third level of parity: the task metric of two backends on the same sample of the data."""

import contextlib
import io
import json
import logging
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.runner import Runner

from kd3d.backends.ssh import Host
from kd3d.configs import load_config, type_name
from kd3d.errors import UserError
from kd3d.evaluation.accuracy import prepare_test
from kd3d.export.detections.backend_detector import backend_detector
from kd3d.export.manifest import CONFIG_FILE
from kd3d.export.splits import is_here
from kd3d.report.record import HEADLINES


@dataclass(frozen=True)
class MetricChange:
    """Of a candidate against its reference.

    Attributes:
        name: "AP" or "NDS".
        reference: in points of 100.
        candidate: the same.
        samples: images or frames that both ran on.
        limit: points that may be lost.
        synthetic: whether these are of a made-up world.
    """

    name: str
    reference: float
    candidate: float
    samples: int
    limit: float
    synthetic: bool = False

    @property
    def lost(self) -> float:
        """Points; below 0 where the candidate is better."""
        return self.reference - self.candidate

    @property
    def passed(self) -> bool:
        """No more is lost than the limit; a gain by chance is no fault."""
        return self.lost <= self.limit


class Measured(NamedTuple):
    """The task metric of one backend.

    Attributes:
        name: "AP" or "NDS".
        value: in points of 100.
        samples: images or frames.
        synthetic: whether these are of a made-up world.
    """

    name: str
    value: float
    samples: int
    synthetic: bool


@dataclass(frozen=True)
class SampleMetric:
    """Runs an export over a fixed sample of its config's test split.

    Attributes:
        folder: the export.
        samples: images or frames, spread evenly over the split; fewer where it has fewer.
    """

    folder: Path
    samples: int

    def is_here(self) -> bool:
        """Whether the split's annotations are on this machine."""
        cfg = self._config()
        return bool(cfg.get("test_evaluator")) and is_here(cfg, "test")

    def measure(self, backend: str, precision: str, host: Host | None = None) -> Measured:
        """The metric on the sample.

        Args:
            backend: that runs the export.
            precision: of the file.
            host: a vehicle that runs the backend; what comes before and after runs here.

        Raises:
            UserError: if the config has no metric that leaves a record.
        """
        cfg = self._config()
        with tempfile.TemporaryDirectory(prefix="kd3d-metric-") as work_dir, _quiet():
            prepare_test(cfg, work_dir)
            count = _take_sample(cfg, self.samples, Path(work_dir))
            cfg.work_dir = work_dir
            # by default runs of one second share a visualizer, and with it a folder that is gone
            cfg.experiment_name = Path(work_dir).name
            cfg.model = backend_detector(self.folder, backend, cfg, precision=precision, host=host)
            runner = Runner.from_cfg(cfg)
            try:
                runner.test()
                name, value, synthetic = _headline(runner)
            finally:
                runner.model.close()
        return Measured(name, value, count, synthetic)

    def _config(self) -> Config:
        cfg = load_config(str(self.folder / CONFIG_FILE))
        cfg.launcher, cfg.resume, cfg.load_from, cfg.custom_hooks = "none", False, None, []
        cfg.visualizer = None
        return cfg


def _headline(runner: Runner) -> tuple[str, float, bool]:
    for metric in runner.test_loop.evaluator.metrics:
        found = getattr(getattr(metric, "accuracy", None), "metrics", {})
        name = next((name for name in HEADLINES if name in found), None)
        if name is not None:
            synthetic = getattr(metric, "tested", {}).get("synthetic") == "yes"
            return name, float(found[name]), synthetic
    raise UserError("the test evaluator of the export's config answers neither AP nor NDS")


def _take_sample(cfg: Config, count: int, folder: Path) -> int:
    """Puts an annotation file with some of the split's samples in the place of the whole."""
    dataset = cfg.test_dataloader.dataset
    path = Path(dataset.get("data_root") or "") / dataset.ann_file
    content = load(str(path))
    key = "images" if "images" in content else "data_list"
    entries: Sequence[Any] = content[key]
    places = np.unique(np.linspace(0, len(entries) - 1, min(count, len(entries))).astype(int))
    kept = [entries[place] for place in places]
    sample = {**content, key: kept}
    if key == "images":
        ids = {image["id"] for image in kept}
        sample["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
        target = folder / "sample.json"
        target.write_text(json.dumps(sample), encoding="utf-8")
    else:
        target = folder / "sample.pkl"
        target.write_bytes(pickle.dumps(sample))
    dataset.ann_file = str(target)
    for evaluator in cfg.test_evaluator:
        evaluator["ann_file"] = str(target)
        if type_name(evaluator) == "NuScenesFastMetric":
            evaluator["subset"] = True
    return len(kept)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without MMEngine's own log of a test run."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
