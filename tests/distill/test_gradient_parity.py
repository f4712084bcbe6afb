"""The same gradients however a batch is split: over processes, over accumulation steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toys
from mmengine.registry import MODELS, DefaultScope

from kd3d.distill.distiller import Distiller
from kd3d.distill.pair_config import pair_from_config
from kd3d.distill.teacher import Teacher
from kd3d.losses import __all__ as exported
from kd3d.registry import LOSSES

PAIRS = [
    toys.neck_pair(),
    toys.neck_pair(name="mixed", loss={"type": "FeatureAttention", "alpha": 0.9}),
    toys.neck_pair(name="attention", loss={"type": "AttentionTransfer"}),
    toys.neck_pair(name="channel", loss={"type": "ChannelWiseDivergence", "temperature": 2.0}),
    toys.neck_pair(name="pearson", loss={"type": "PearsonDistance"}),
    toys.response_pair(),
    toys.response_pair(
        name="classes",
        student="bbox_head[0]",
        teacher="bbox_head[0]",
        loss={"type": "SigmoidDivergence"},
    ),
    toys.response_pair(
        name="softmax",
        student="bbox_head[0]",
        teacher="bbox_head[0]",
        loss={"type": "SoftmaxDivergence"},
    ),
]


def built(model, seed):
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope("mmdet"):
        detector = MODELS.build(model)
    detector.init_weights()
    torch.nn.init.normal_(detector.bbox_head.retina_cls.weight, std=0.5)
    return detector


def distiller():
    """A student whose batch norms use running statistics, so that images do not interact."""
    student = built(toys.retinanet(), 0)
    student.backbone.norm_eval = True
    student.train()
    pairs = [pair_from_config(config) for config in PAIRS]
    teacher = Teacher(built(toys.retinanet(8, 16), 1), [pair.teacher for pair in pairs])
    made = Distiller(student, teacher, pairs)
    batch = images(2)
    _, seen, taught = made.run_once(batch)
    torch.manual_seed(2)
    for pair in pairs:
        pair.build_connectors("auto", seen[pair.student], taught[pair.teacher], torch.device("cpu"))
    return made


def images(count, start=0):
    """Images ``start`` to ``start + count`` of one fixed sequence, one box each."""
    generator = torch.Generator().manual_seed(7)
    everything = torch.randn(8, 3, 64, 64, generator=generator)
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    samples = []
    for index in range(start, start + count):
        corner = 4.0 * index
        sample = DetDataSample(
            metainfo={"img_shape": (64, 64), "pad_shape": (64, 64), "batch_input_shape": (64, 64)}
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[corner, corner, corner + 20.0, corner + 20.0]]),
            labels=torch.tensor([index % 2]),
        )
        samples.append(sample)
    return {"inputs": everything[start : start + count], "data_samples": samples}


def distillation_loss(made, batch):
    made.before_forward(batch["inputs"], batch["data_samples"])
    losses = made.student(**batch, mode="loss")
    added = made.after_forward(losses)
    return sum(added[f"loss_{pair.name}"] for pair in made.pairs)


def gradients(made):
    modules = {"student": made.student, **{p.name: p.connectors for p in made.pairs}}
    return {
        f"{owner}.{name}": parameter.grad.clone()
        for owner, module in modules.items()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert len(one) > 40
    largest = max(float(value.abs().max()) for value in one.values())
    for key, value in one.items():
        torch.testing.assert_close(other[key], value, rtol=1e-4, atol=1e-6 * largest, msg=key)


@pytest.fixture(scope="module")
def whole():
    """Gradients of a batch of 4 in one piece."""
    made = distiller()
    distillation_loss(made, images(4)).backward()
    return gradients(made)


# Of BEV maps; tests/losses/test_contract.py compares a batch with its singles.
LIDAR = {"Affinity", "AnchorResponse", "BevFeature", "BoxPoints", "HeatmapResponse"}


def test_every_loss_of_images_takes_part():
    types = {pair["loss"]["type"] for pair in PAIRS}
    assert types == {name for name in exported if name in LOSSES.module_dict} - LIDAR


def test_accumulating_twice_two_is_a_batch_of_four(whole):
    made = distiller()
    for start in (0, 2):
        (distillation_loss(made, images(2, start)) / 2).backward()
    assert_same(whole, gradients(made))


def test_four_singles_are_a_batch_of_four(whole):
    made = distiller()
    for start in range(4):
        (distillation_loss(made, images(1, start)) / 4).backward()
    assert_same(whole, gradients(made))


def test_the_comparison_can_fail(whole):
    made = distiller()
    (distillation_loss(made, images(4)) * 1.01).backward()
    with pytest.raises(AssertionError):
        assert_same(whole, gradients(made))


def test_two_processes_are_one(whole, tmp_path):
    """gloo, two images a rank; the hook's own wrapping of student and connectors."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(toys.__file__).parent),
    }
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--standalone",
        __file__,
        str(tmp_path),
    ]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    ranks = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in (0, 1)]
    assert_same(ranks[0], ranks[1])
    assert_same(whole, ranks[0])
    buckets = json.loads((tmp_path / "ddp.json").read_text())
    made = distiller()
    assert buckets["student"] == len(list(made.student.parameters()))


def on_one_rank(folder):
    """What each process of torchrun does: wrap as MMEngine does, and one backward."""
    from mmengine.model import MMDistributedDataParallel

    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    made = distiller()
    for pair in made.pairs:
        pair.distribute()
    made.attach()
    wrapped = MMDistributedDataParallel(made.student, broadcast_buffers=False)
    losses = wrapped(**images(2, 2 * rank), mode="loss")
    task = sum(
        sum(v) if isinstance(v, list) else v
        for k, v in losses.items()
        if k not in {f"loss_{pair.name}" for pair in made.pairs}
    )
    distilled = sum(losses[f"loss_{pair.name}"] for pair in made.pairs)
    (distilled + 0 * task).backward()
    made.detach()
    torch.save(gradients(made), Path(folder) / f"{rank}.pth")
    if rank == 0:
        counted = {"student": len(wrapped._module_parameters)}
        (Path(folder) / "ddp.json").write_text(json.dumps(counted))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    on_one_rank(sys.argv[1])
