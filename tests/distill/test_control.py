import copy

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from kd3d.distill.control import GroundTruthScaleHook, scaled_losses
from kd3d.errors import UserError


class Toy(BaseModel):
    """One weight w; loss_cls = w * x, loss_bbox = [w, 2 w], acc is logged only."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(3.0))

    def forward(self, inputs, mode="tensor"):
        if mode == "loss":
            w = self.weight
            return {"loss_cls": w * inputs.mean(), "loss_bbox": [w, 2 * w], "acc": w.detach()}
        return [self.weight.detach()]


class Probe(Hook):
    """Copies the model in the middle of training, and keeps what the copy and it return."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        inputs = torch.ones(2)
        twin = copy.deepcopy(runner.model)
        assert next(iter(twin.parameters())) is not runner.model.weight
        self.copied = twin(inputs, mode="loss")
        self.original = runner.model(inputs, mode="loss")
        self.predicted = runner.model(inputs, mode="predict")


def train(hook, tmp_path, iterations=1):
    probe = Probe()
    runner = Runner(
        model=Toy(),
        work_dir=str(tmp_path),
        train_dataloader=DataLoader([{"inputs": torch.ones(1)}] * 4, batch_size=2),
        train_cfg={"by_epoch": False, "max_iters": iterations},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
        default_hooks={"checkpoint": None, "logger": None},
        custom_hooks=[hook, probe],
        experiment_name=tmp_path.name,
        log_level="WARNING",
    )
    runner.train()
    return runner.model, probe


@pytest.mark.parametrize(
    ("scale", "terms", "gradient"),
    [
        (1.0, None, 1 + 1 + 2),
        (2.0, None, 2 * (1 + 1 + 2)),
        (5.0, ["loss_cls"], 5 * 1 + 1 + 2),
        (5.0, ["loss_bbox"], 1 + 5 * (1 + 2)),
    ],
)
def test_one_step_follows_the_scaled_gradient(tmp_path, scale, terms, gradient):
    model, _ = train(GroundTruthScaleHook(scale, terms), tmp_path)
    assert model.weight.item() == pytest.approx(3.0 - 0.1 * gradient)


def test_a_copy_made_in_training_is_not_scaled(tmp_path):
    model, probe = train(GroundTruthScaleHook(2.0), tmp_path)
    w = model.weight.item()
    assert probe.original["loss_cls"].item() == pytest.approx(2 * w)
    assert probe.copied["loss_cls"].item() == pytest.approx(w)
    assert [loss.item() for loss in probe.copied["loss_bbox"]] == pytest.approx([w, 2 * w])


def test_logged_entries_and_predictions_stay(tmp_path):
    model, probe = train(GroundTruthScaleHook(2.0), tmp_path)
    assert probe.original["acc"].item() == model.weight.item()
    assert [value.item() for value in probe.predicted] == [model.weight.item()]


def test_nothing_is_left_after_training(tmp_path):
    before = set(vars(Toy()))
    model, _ = train(GroundTruthScaleHook(2.0), tmp_path)
    assert not model._forward_hooks
    assert not model._forward_hooks_with_kwargs
    assert set(vars(model)) == before


def test_a_term_that_is_not_a_loss_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(UserError, match=r"no loss 'loss_iou', 'acc'; it has loss_cls, loss_bbox"):
        train(GroundTruthScaleHook(2.0, ["loss_cls", "loss_iou", "acc"]), tmp_path)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_strength_is_refused(scale):
    with pytest.raises(UserError, match="expected a number above 0"):
        GroundTruthScaleHook(scale)


def test_the_given_dict_is_not_changed():
    losses = {"loss_a": torch.tensor(1.5), "rate": torch.tensor(0.1)}
    result = scaled_losses(losses, 2.0)
    assert losses["loss_a"].item() == 1.5
    assert {name: value.item() for name, value in result.items()} == pytest.approx(
        {"loss_a": 3.0, "rate": 0.1}
    )
