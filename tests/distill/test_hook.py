"""What must hold of a distilled run, on a real mmdet detector with a real Runner."""

import copy
import gc
import weakref

import pytest
import torch
import toys
from mmdet.apis import init_detector
from mmengine.runner import Runner

import kd3d.distill  # registers the hook
from kd3d.distill.hook import DistillHook
from kd3d.distill.probe import training_batch
from kd3d.errors import UserError


@pytest.fixture
def teacher(tmp_path):
    return toys.teacher_config(tmp_path / "teacher.py", toys.retinanet(8, 16))


def train(folder, hooks, *, look=None, **changes):
    runner = Runner.from_cfg(toys.training(folder, toys.retinanet(), hooks=hooks, **changes))
    if look is not None:
        runner.register_hook(toys.Watch(look))
    runner.train()
    return runner


NEVER = {"start": 1.0, "warmup": 1e-9, "stop": 1e-9}  # 0 at every iteration


def pairs(**changes):
    return [toys.neck_pair(**changes), toys.response_pair(**changes)]


def same_weights(one, other):
    states = one.model.state_dict(), other.model.state_dict()
    assert states[0].keys() == states[1].keys()
    return all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_weights_of_zero_change_no_loss_and_no_weight_over_20_iterations(tmp_path, teacher):
    losses = {"plain": [], "zero": []}
    runs = {}
    for name, hooks in (
        ("plain", []),
        ("zero", [toys.distill_hook(teacher, pairs(weight=NEVER))]),
    ):
        runs[name] = train(
            tmp_path / name,
            hooks,
            iterations=20,
            look=lambda runner, outputs, name=name: losses[name].append(
                {key: float(value) for key, value in outputs.items()}
            ),
        )
    assert len(losses["plain"]) == 20
    assert losses["plain"] == losses["zero"]
    assert same_weights(runs["plain"], runs["zero"])


def test_a_weight_above_zero_changes_both(tmp_path, teacher):
    plain = train(tmp_path / "plain", [])
    distilled = train(tmp_path / "distilled", [toys.distill_hook(teacher, pairs())])
    assert not same_weights(plain, distilled)


def test_running_the_teacher_and_the_connectors_draws_no_random_number(tmp_path, teacher):
    """A weight too small to move a float: everything runs, and nothing differs."""
    plain = train(tmp_path / "plain", [])
    faint = train(tmp_path / "faint", [toys.distill_hook(teacher, pairs(weight=1e-38))])
    assert same_weights(plain, faint)


def test_the_checkpoint_is_the_students(tmp_path, teacher):
    hook = toys.distill_hook(teacher, pairs())
    checkpoint = {"type": "CheckpointHook", "interval": 4, "by_epoch": False}
    hooks = {"checkpoint": checkpoint}
    plain = train(tmp_path / "plain", [], default_hooks=hooks)
    distilled = train(tmp_path / "distilled", [hook], default_hooks=hooks)
    files = [f"{runner.work_dir}/iter_4.pth" for runner in (plain, distilled)]
    saved = [torch.load(file, weights_only=True) for file in files]
    assert saved[0]["state_dict"].keys() == saved[1]["state_dict"].keys()
    sizes = []
    for index, state in enumerate(saved):
        path = tmp_path / f"{index}.pth"
        torch.save(state["state_dict"], path)
        sizes.append(path.stat().st_size)
    assert sizes[1] <= 1.01 * sizes[0]
    teacher_sizes = {p.numel() for p in the_teacher(tmp_path, teacher).parameters()}
    connectors = saved[1]["distiller"]["distill"]["connectors"]["neck"]
    assert {tuple(value.shape) for value in connectors.values()} == {(16, 8, 1, 1), (16,)}
    assert teacher_sizes - {p.numel() for p in distilled.model.parameters()}
    config = tmp_path / "student.py"
    distilled.cfg.dump(config)
    model = init_detector(str(config), files[1], device="cpu")
    assert all(
        torch.equal(value, saved[1]["state_dict"][key]) for key, value in model.state_dict().items()
    )


def the_teacher(folder, config):
    runner = Runner.from_cfg(toys.training(folder / "t", toys.retinanet(8, 16)))
    return runner.model


def test_no_teacher_parameter_in_optimizer_or_ema(tmp_path, teacher):
    found = {}

    def look(runner, outputs):
        distiller = toys.distilling(runner)._distiller
        found["teacher"] = {id(p) for p in distiller.teacher.model.parameters()}
        found["optimized"] = {
            id(p) for group in runner.optim_wrapper.param_groups for p in group["params"]
        }
        found["expected"] = {id(p) for p in runner.model.parameters()} | {
            id(p) for pair in distiller.pairs for p in pair.connectors.parameters()
        }
        ema = next(hook for hook in runner.hooks if type(hook).__name__ == "EMAHook")
        found["ema"] = [tuple(p.shape) for p in ema.ema_model.module.parameters()]
        found["student"] = [tuple(p.shape) for p in runner.model.parameters()]

    train(tmp_path, [{"type": "EMAHook"}, toys.distill_hook(teacher, pairs())], look=look)
    assert not found["teacher"] & found["optimized"]
    assert found["optimized"] == found["expected"]
    assert found["ema"] == found["student"]


def test_a_copy_made_in_mid_training_is_a_plain_detector(tmp_path, teacher):
    copies, own, copied = [], [], []

    def look(runner, outputs):
        batch = training_batch(runner, runner.model)
        copies.append(copy.deepcopy(runner.model))
        own.append(set(runner.model(**batch, mode="loss")))
        copied.append(set(copies[-1](**batch, mode="loss")))

    runner = train(tmp_path, [toys.distill_hook(teacher, pairs())], look=look)
    added = {"loss_neck", "loss_response"}
    assert all(added <= names for names in own)
    assert [own_names - added for own_names in own] == copied
    parameters = sum(p.numel() for p in runner.model.parameters())
    assert sum(p.numel() for p in copies[0].parameters()) == parameters


def test_after_training_nothing_is_left_on_the_student(tmp_path, teacher):
    plain = train(tmp_path / "plain", [])
    attributes = []
    runner = train(
        tmp_path / "distilled",
        [toys.distill_hook(teacher, pairs())],
        look=lambda runner, outputs: attributes.append(
            sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in runner.model.modules())
        ),
    )
    # while it trains, one before and one after the student's forward: for the pairs, and for
    # frames without labels
    assert attributes[0] == 4
    for module in runner.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert vars(runner.model).keys() == vars(plain.model).keys()
    assert toys.distilling(runner)._distiller.teacher is None


def test_the_teacher_stays_frozen_in_eval_mode_and_unchanged(tmp_path, teacher):
    before, modes = {}, []

    def look(runner, outputs):
        model = toys.distilling(runner)._distiller.teacher.model
        runner.model.train()
        modes.append([name for name, module in model.named_modules() if module.training])
        state = {key: value.clone() for key, value in model.state_dict().items()}
        before.setdefault("state", state)
        before["last"] = state
        before["grad"] = any(p.grad is not None or p.requires_grad for p in model.parameters())

    train(tmp_path, [toys.distill_hook(teacher, pairs())], look=look)
    assert modes == [["bbox_head"]] * 4  # what it returns, not what is normalised or dropped in it
    assert not before["grad"]
    assert all(torch.equal(before["state"][k], before["last"][k]) for k in before["state"])


def test_the_teachers_forward_ends_at_the_last_tap(tmp_path, teacher):
    calls = []

    def look(runner, outputs):
        model = toys.distilling(runner)._distiller.teacher.model
        if runner.iter == 0:
            model.bbox_head.register_forward_hook(lambda *_: calls.append("head"))
            model.neck.register_forward_hook(lambda *_: calls.append("neck"))

    train(tmp_path, [toys.distill_hook(teacher, [toys.neck_pair()])], look=look)
    assert calls == ["neck"] * 3  # iterations 2 to 4; the first has no one to count its calls


def test_after_the_stop_the_teacher_is_neither_run_nor_kept(tmp_path, teacher):
    alive, keys = [], []
    references = []

    def look(runner, outputs):
        distiller = toys.distilling(runner)._distiller
        if distiller.teacher is not None:
            references.append(weakref.ref(distiller.teacher.model))
        gc.collect()
        alive.append(references[0]() is not None)
        keys.append("loss_neck" in outputs)

    stop = {"start": 1.0, "stop": 0.5}
    train(tmp_path, [toys.distill_hook(teacher, pairs(weight=stop))], look=look)
    assert keys == [True, True, False, False]
    assert alive == [True, True, False, False]


def test_two_hooks_with_two_teachers_in_one_run(tmp_path, teacher):
    other = toys.teacher_config(tmp_path / "other.py", toys.retinanet(4, 12))
    seen = []
    train(
        tmp_path,
        [
            toys.distill_hook(teacher, [toys.neck_pair(name="first")], name="a"),
            toys.distill_hook(other, [toys.neck_pair(name="second")], name="b"),
        ],
        look=lambda runner, outputs: seen.append(set(outputs)),
    )
    assert {"loss_first", "loss_second"} <= seen[0]


def test_two_hooks_of_one_name_are_refused(tmp_path, teacher):
    hooks = [
        toys.distill_hook(teacher, [toys.neck_pair(name=name)]) for name in ("first", "second")
    ]
    with pytest.raises(UserError, match="name of its own"):
        train(tmp_path, hooks)


def test_the_log_carries_each_pairs_loss_and_the_gradients_are_measured(tmp_path, teacher):
    runner = train(tmp_path, [toys.distill_hook(teacher, pairs())], iterations=4)
    scalars = runner.message_hub.log_scalars
    assert len(scalars["train/loss_neck"].data[0]) == 4
    assert scalars["distill/gradient_share/neck"].mean() > 0
    assert scalars["distill/gradient_scale"].mean() > 0


def test_bf16_is_finite_and_close_to_fp32(tmp_path, teacher):
    losses = {}
    for name in ("fp32", "bf16"):
        found = losses.setdefault(name, [])
        with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
            train(
                tmp_path / name,
                [toys.distill_hook(teacher, pairs())],
                iterations=2,
                look=lambda runner, outputs, found=found: found.append(
                    [float(outputs["loss_neck"]), float(outputs["loss_response"])]
                ),
            )
    half, full = torch.tensor(losses["bf16"]), torch.tensor(losses["fp32"])
    assert torch.isfinite(half).all()
    assert half.numpy() == pytest.approx(full.numpy(), rel=0.05, abs=1e-6)


def test_it_is_registered_without_a_prefix():
    assert kd3d.distill.DistillHook is DistillHook
