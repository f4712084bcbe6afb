import pytest
import torch
from torch import nn

import kd3d.distill.distiller
from kd3d.distill.distiller import Distiller
from kd3d.distill.gradients import gradients


@pytest.fixture
def made():
    """Around a student y = 1 x."""
    student = nn.Linear(1, 1, bias=False)
    nn.init.ones_(student.weight)
    return Distiller(student, None, [])


def measured(made, task=1.0, pair=1e-8, dtype=torch.float16):
    """Of losses ``task`` and ``pair`` times the sum of four outputs."""
    with torch.autocast("cpu", dtype):
        total = made.student(torch.ones(4, 1)).float().sum()
        return made._measure({"loss": task * total}, {"loss_pair": pair * total})


def test_gradients_in_half_precision_are_those_of_the_scaled_losses(made):
    made.loss_scale = 1024.0  # d pair / d output is 1e-8 without it, and float16 ends at 6e-8
    found = {name: float(value) for name, value in measured(made).items()}
    assert found == {
        "gradient_share/pair": pytest.approx(1e-8, rel=0.01),
        "gradient_scale": pytest.approx(1.0),
    }


def test_what_overflows_or_has_no_task_is_not_measured(made):
    assert measured(made, task=0.0) == {}
    made.loss_scale = 2.0**17  # above 65504
    assert measured(made) == {}
    assert measured(made, dtype=torch.bfloat16)


def test_every_process_goes_through_as_many_backward_passes(made, monkeypatch):
    calls = []

    def noting(loss, parameters):
        calls.append(float(loss.detach()))
        return gradients(loss, parameters)

    monkeypatch.setattr(kd3d.distill.distiller, "gradients", noting)
    measured(made, task=0.0, pair=1.0)
    assert calls == [0.0, 4.0]


def test_processes_measure_again_where_the_main_one_has_to(monkeypatch):
    monkeypatch.setattr(kd3d.distill.distiller, "broadcast", lambda told: told.fill_(1))
    assert kd3d.distill.distiller._main_process_has({})
