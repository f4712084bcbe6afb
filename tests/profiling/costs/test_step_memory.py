"""Bytes of a step, counted by hand."""

import torch
from torch import nn

from kd3d.profiling.costs.step_memory import peak_step_bytes, resident_bytes, tensor_bytes

CPU = torch.device("cpu")


def test_peak_is_what_lives_at_the_same_time():
    x = torch.zeros(1000)

    def step():
        first = x.neg()  # 4000 bytes
        second = first.neg()  # 8000
        del first  # 4000
        third = second.neg()  # 8000
        fourth = third.neg()  # 12000
        del second, third
        return fourth.neg()  # 8000

    assert peak_step_bytes(step, CPU) == 12000


def test_peak_does_not_count_what_was_there_before():
    kept = [torch.zeros(1000)]

    def step():
        kept[0] = kept[0].neg()  # the new one beside the old one

    assert peak_step_bytes(step, CPU) == 4000


def test_shared_storage_counts_once():
    x = torch.zeros(10)
    assert tensor_bytes([x, x.view(2, 5), x[:3], torch.zeros(2)]) == 40 + 8


def test_resident_counts_weights_buffers_momentum_and_other_groups():
    model = nn.BatchNorm1d(4)  # weight and bias, mean and variance, a count of 8 bytes
    extra = nn.Parameter(torch.zeros(5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer.add_param_group({"params": [extra]})
    weights, buffers, group = 2 * 16, 2 * 16 + 8, 20
    assert resident_bytes([model], optimizer) == weights + buffers + group
    (model(torch.randn(3, 4)).square().sum() + extra.sum()).backward()
    optimizer.step()
    momentum = weights + group
    assert resident_bytes([model], optimizer) == weights + buffers + group + momentum
