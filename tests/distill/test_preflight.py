"""What preflight has to catch before the first iteration, on a real detector and Runner."""

import pickle

import pytest
import torch
import toys
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn

import kd3d.datasets.unlabelled
import kd3d.distill  # noqa: F401  (both register what the configs name)
from kd3d.checkpoints import load_checkpoint, use_safe_loading
from kd3d.configs import load_config
from kd3d.distill.inspection import inspect_modules, inspect_pairs
from kd3d.distill.preflight import check_custom_hooks
from kd3d.errors import UserError
from kd3d.registry import LOSSES

ONE_SCREEN = (24, 160)


class DetachedLoss(nn.Module):
    def forward(self, student, teacher):
        return (student.detach() - teacher.detach()).square().mean()


class InfiniteLoss(nn.Module):
    def forward(self, student, teacher):
        return (student / 0).abs().mean()


@pytest.fixture(autouse=True)
def _bad_losses(monkeypatch):
    """Registered for these tests only: others count what LOSSES holds."""
    for loss in (DetachedLoss, InfiniteLoss):
        monkeypatch.setitem(LOSSES.module_dict, loss.__name__, loss)


@pytest.fixture
def teacher(tmp_path):
    return toys.teacher_config(tmp_path / "teacher.py", toys.retinanet(8, 16))


def refusal(tmp_path, hook, *, student=None, **changes):
    """The message with which a training refuses to start; no iteration has run."""
    hooks = hook if isinstance(hook, list) else [hook]
    runner = Runner.from_cfg(
        toys.training(tmp_path, student or toys.retinanet(), hooks=hooks, **changes)
    )
    with pytest.raises(UserError) as error:
        runner.train()
    assert runner.iter == 0
    text = str(error.value)
    assert len(text.splitlines()) <= ONE_SCREEN[0]
    assert all(len(line) <= 3 * ONE_SCREEN[1] for line in text.splitlines())
    return text


def weights(model, *, trained=True):
    """A detector's state dict; every value moved as training would."""
    with DefaultScope.overwrite_default_scope("mmdet"):
        detector = MODELS.build(model)
    detector.init_weights()
    if trained:
        generator = torch.Generator().manual_seed(0)
        for parameter in detector.parameters():
            parameter.data += 0.01 * torch.randn(parameter.shape, generator=generator)
    return detector.state_dict()


def with_checkpoint(teacher, state, path, **changes):
    torch.save(state, path)
    return toys.distill_hook(
        teacher, [toys.neck_pair()], teacher={"checkpoint": str(path), **changes}
    )


def test_a_good_teacher_passes(tmp_path, teacher):
    hook = with_checkpoint(
        teacher, {"state_dict": weights(toys.retinanet(8, 16))}, tmp_path / "t.pth"
    )
    Runner.from_cfg(toys.training(tmp_path, toys.retinanet(), hooks=[hook])).train()


def test_a_checkpoint_of_another_architecture(tmp_path, teacher):
    hook = with_checkpoint(
        teacher, {"state_dict": weights(toys.retinanet(8, 24))}, tmp_path / "t.pth"
    )
    text = refusal(tmp_path, hook)
    assert "does not fit RetinaNet" in text
    assert "is (24, 16, 1, 1), expected (16, 16, 1, 1)" in text


def test_a_checkpoint_with_other_keys(tmp_path, teacher):
    hook = with_checkpoint(
        teacher, {"state_dict": nn.Linear(2, 2).state_dict()}, tmp_path / "t.pth"
    )
    text = refusal(tmp_path, hook)
    assert "missing" in text
    assert "unexpected: 2 (1 in weight, 1 in bias)" in text


def test_a_missing_head(tmp_path, teacher):
    state = weights(toys.retinanet(8, 16))
    state = {key: value for key, value in state.items() if not key.startswith("bbox_head")}
    text = refusal(tmp_path, with_checkpoint(teacher, {"state_dict": state}, tmp_path / "t.pth"))
    assert "in bbox_head), such as bbox_head.cls_convs.0.conv.weight" in text


def test_a_random_head(tmp_path, teacher):
    state = weights(toys.retinanet(8, 16))
    fresh = weights(toys.retinanet(8, 16), trained=False)
    state.update({key: value for key, value in fresh.items() if key.startswith("bbox_head")})
    text = refusal(tmp_path, with_checkpoint(teacher, {"state_dict": state}, tmp_path / "t.pth"))
    assert "'bbox_head' was never trained" in text


def test_no_such_checkpoint(tmp_path, teacher):
    hook = toys.distill_hook(teacher, [toys.neck_pair()], teacher={"checkpoint": "/no/such.pth"})
    assert "/no/such.pth: no such file" in refusal(tmp_path, hook)


def test_a_truncated_checkpoint(tmp_path, teacher):
    path = tmp_path / "t.pth"
    hook = with_checkpoint(teacher, {"state_dict": weights(toys.retinanet(8, 16))}, path)
    path.write_bytes(path.read_bytes()[:5000])
    text = refusal(tmp_path, hook)
    assert "cut off or not a checkpoint (5000 bytes" in text


class Payload:
    """Writes a file when it is unpickled without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path, teacher, zipped):
    path, proof = tmp_path / "t.pth", tmp_path / "proof"
    hook = with_checkpoint(teacher, {"state_dict": {}, "x": Payload(proof)}, path)
    if not zipped:
        path.write_bytes(pickle.dumps({"state_dict": {}, "x": Payload(proof)}, protocol=2))
    assert "refused, it holds code besides tensors" in refusal(tmp_path, hook)
    assert not proof.exists()


def test_resume_and_load_from_refuse_code_as_well(tmp_path):
    use_safe_loading()
    path, proof = tmp_path / "resume.pth", tmp_path / "proof"
    torch.save({"state_dict": {}, "meta": Payload(proof)}, path)
    assert "refused" in refusal(tmp_path, [], load_from=str(path), resume=True)
    assert not proof.exists()


def test_getattr_is_allowed_for_mmengines_histories_only(tmp_path):
    class Reach:
        def __reduce__(self):
            return (getattr, (str, "format"))

    path = tmp_path / "t.pth"
    torch.save({"state_dict": {}, "x": Reach()}, path)
    with pytest.raises(UserError, match="refused"):
        load_checkpoint(path)


def test_a_tap_that_matches_nothing(tmp_path, teacher):
    text = refusal(tmp_path, toys.distill_hook(teacher, [toys.neck_pair(student="nek")]))
    assert "student has no module 'nek'" in text
    assert "did you mean 'neck'" in text
    text = refusal(tmp_path, toys.distill_hook(teacher, [toys.neck_pair(teacher="bbox_heed")]))
    assert "teacher has no module 'bbox_heed'" in text
    assert "'bbox_head'" in text


def test_a_tap_that_is_never_reached(tmp_path, teacher):
    pair = toys.neck_pair(student="backbone.relu", teacher="bbox_head.loss_cls")
    student = toys.retinanet()
    text = refusal(
        tmp_path,
        toys.distill_hook(teacher, [{**pair, "student": "data_preprocessor"}]),
        student=student,
    )
    assert "student tap 'data_preprocessor' was never reached" in text


def test_a_loss_that_is_not_finite(tmp_path, teacher):
    pair = toys.neck_pair(loss={"type": "InfiniteLoss"})
    assert "pair 'neck': the loss is inf on the first batch" in refusal(
        tmp_path, toys.distill_hook(teacher, [pair])
    )


def test_a_gradient_that_does_not_reach_the_student(tmp_path, teacher):
    pair = toys.neck_pair(loss={"type": "DetachedLoss"})
    text = refusal(tmp_path, toys.distill_hook(teacher, [pair]))
    assert "does not reach any trainable parameter of the student" in text


def test_a_frozen_stage_is_no_place_to_learn(tmp_path, teacher):
    student = toys.retinanet()
    student["backbone"]["frozen_stages"] = 3
    pair = toys.neck_pair(student="backbone[1]", teacher="backbone[1]")
    text = refusal(tmp_path, toys.distill_hook(teacher, [pair]), student=student)
    assert "tap 'backbone[1]' is detached or frozen" in text


def test_shapes_that_no_connector_can_join(tmp_path, teacher):
    pair = toys.neck_pair(student="neck[0]", teacher="bbox_head[1][0]", connector=None)
    text = refusal(tmp_path, toys.distill_hook(teacher, [pair]))
    assert "(2, 8, 8, 8)" in text
    assert "(2, 4, 8, 8)" in text


@pytest.fixture
def _several_an_image(monkeypatch):
    """A RetinaNet with rows of regions and of decoder layers beside it."""
    from mmdet.models import RetinaNet

    class Several(RetinaNet):
        def __init__(self, **settings):
            super().__init__(**settings)
            width = self.neck.out_channels
            self.roi_head = nn.ModuleDict({"bbox_head": nn.Linear(width, 8)})
            self.decoder = nn.ModuleList(nn.Linear(width, width) for _ in range(2))

        def extract_feat(self, images):
            levels = super().extract_feat(images)
            cells = levels[0].flatten(2).transpose(1, 2)  # (B, H * W, C)
            self.roi_head["bbox_head"](cells[:, :5].flatten(0, 1))  # 5 regions an image
            for count, layers in zip((2, 3), self.decoder, strict=True):
                layers(torch.stack([cells] * count))
            return levels

    monkeypatch.setitem(MODELS.module_dict, "Several", Several)


@pytest.mark.usefixtures("_several_an_image")
@pytest.mark.parametrize(
    ("tap", "says"),
    [
        ("roi_head.bbox_head", "gives tensor (10, 8) of 2 images, a row for each region of"),
        ("decoder.0", "gives tensor (2, 2, 64, 8) of 2 images, layers first, which Resize()"),
        ("decoder.1", "gives tensor (3, 2, 64, 8) of 2 images, layers first, which Resize()"),
    ],
)
def test_what_is_not_by_image_is_refused_though_it_has_shapes_that_fit(tmp_path, tap, says):
    teacher = toys.teacher_config(tmp_path / "t.py", {**toys.retinanet(8, 16), "type": "Several"})
    pair = toys.neck_pair(name="rows", student=tap, teacher=tap)
    hook = toys.distill_hook(teacher, [pair])
    text = refusal(tmp_path, hook, student={**toys.retinanet(), "type": "Several"})
    assert text.startswith(f"pair 'rows': tap {tap!r} {says}")


def test_levels_that_differ_in_number(tmp_path, teacher):
    text = refusal(tmp_path, toys.distill_hook(teacher, [toys.neck_pair(student="neck[0]")]))
    assert "has 1 levels" in text
    assert "has 2" in text


def test_a_whole_head_is_no_feature(tmp_path, teacher):
    pair = toys.neck_pair(student="bbox_head", teacher="bbox_head")
    text = refusal(tmp_path, toys.distill_hook(teacher, [pair]))
    assert "add an index, such as bbox_head[0]" in text


def test_a_class_count_that_differs(tmp_path):
    path = toys.teacher_config(tmp_path / "t.py", toys.retinanet(8, 16, classes=5))
    text = refusal(tmp_path, toys.distill_hook(path, [toys.neck_pair()]))
    assert "student tells 2 classes apart, the teacher 5" in text
    meant = toys.distill_hook(path, [toys.neck_pair()], teacher={"num_classes": 5})
    Runner.from_cfg(toys.training(tmp_path, toys.retinanet(), hooks=[meant])).train()


def teacher_of(classes, tmp_path):
    """A config that tells which classes its teacher was trained on."""
    loader = {"dataset": {"type": "CocoDataset", "metainfo": {"classes": classes}}}
    path = tmp_path / f"{'-'.join(classes)}.py"
    return toys.teacher_config(path, toys.retinanet(8, 16), train_dataloader=loader)


def test_classes_in_another_order_are_refused(tmp_path):
    path = teacher_of(("person", "car"), tmp_path)
    text = refusal(tmp_path, toys.distill_hook(path, [toys.response_pair()]))
    assert "class 0 is 'car' to the student and 'person' to the teacher (2 of 2 differ)" in text
    assert "teacher=dict(..., num_classes=2)" in text
    other = teacher_of(("car", "pedestrian"), tmp_path)
    scores = toys.neck_pair(student="bbox_head[0]", teacher="bbox_head[0]")
    text = refusal(tmp_path, toys.distill_hook(other, [toys.neck_pair(name="a"), scores]))
    assert "class 1 is 'person' to the student and 'pedestrian' to the teacher (1 of 2" in text


@pytest.mark.parametrize(
    ("classes", "pair", "declared"),
    [
        (toys.CLASSES, toys.response_pair(), {}),
        (("person", "car"), toys.neck_pair(), {}),
        (("person", "car"), toys.response_pair(), {"num_classes": 2}),
    ],
)
def test_classes_in_the_same_order_or_not_compared_or_meant_pass(tmp_path, classes, pair, declared):
    hook = toys.distill_hook(teacher_of(classes, tmp_path), [pair], teacher=declared)
    config = toys.training(tmp_path, toys.retinanet(), hooks=[hook], iterations=1)
    Runner.from_cfg(config).train()


def recomputing():
    """A student that drops its blocks' activations and computes them again."""
    student = toys.retinanet()
    student["backbone"]["with_cp"] = True
    return student


# mmdet leaves it to torch how, as torch warns
CHECKPOINTING = pytest.mark.filterwarnings("ignore:torch.utils.checkpoint")


@CHECKPOINTING
def test_a_student_that_computes_blocks_twice_is_measured_before_training(tmp_path, teacher):
    reports, losses = [], []
    for student, points in ((toys.retinanet(), 10), (recomputing(), 0)):
        hook = toys.distill_hook(
            teacher, [toys.neck_pair(), toys.response_pair()], gradient_points=points
        )
        runner = Runner.from_cfg(toys.training(tmp_path, student, hooks=[hook], iterations=1))
        runner.register_hook(
            toys.Watch(lambda _, outputs: losses.append(float(outputs["loss_neck"])))
        )
        runner.train()
        reports.append(toys.distilling(runner).reports)
    assert reports[0] == reports[1]
    assert losses[0] == losses[1]
    assert runner.model.backbone.layer1[0].with_cp


def test_gradients_in_training_cannot_be_measured_where_blocks_are_computed_twice(
    tmp_path, teacher
):
    text = refusal(tmp_path, toys.distill_hook(teacher, [toys.neck_pair()]), student=recomputing())
    assert "the student has with_cp=True (in backbone), whose gradients cannot be" in text
    assert "set gradient_points=0 (" in text


@CHECKPOINTING
def test_within_a_block_that_is_computed_twice_nothing_is_learnt(tmp_path, teacher):
    pair = toys.neck_pair(student="backbone.layer2.0.conv2", teacher="backbone.layer2.0.conv2")
    hook = toys.distill_hook(teacher, [pair], gradient_points=0)
    text = refusal(tmp_path, hook, student=recomputing())
    assert "tap 'backbone.layer2.0.conv2' is within a block with with_cp=True" in text
    config = toys.training(tmp_path, toys.retinanet(), hooks=[hook], iterations=1)
    Runner.from_cfg(config).train()


def test_pair_names_twice(tmp_path, teacher):
    text = refusal(tmp_path, toys.distill_hook(teacher, [toys.neck_pair(), toys.neck_pair()]))
    assert "pair names must be unique, got ['neck']" in text
    hooks = [toys.distill_hook(teacher, [toys.neck_pair()], name=name) for name in "ab"]
    assert "pair names must be unique" in refusal(tmp_path, hooks)


def test_a_pair_named_as_one_of_the_students_losses(tmp_path, teacher):
    text = refusal(tmp_path, toys.distill_hook(teacher, [toys.neck_pair(name="cls")]))
    assert "already has a loss 'loss_cls'" in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"loss": {"type": "FeatureL3"}}, "no type 'FeatureL3'"),
        ({"loss": {"type": "FeatureL2", "alpha": 1}}, "cannot be built"),
        ({"wieght": 1.0}, "unknown ['wieght']"),
        ({"connector": "conv"}, "connector must be 'auto'"),
        ({"connector": {"type": "Conv3x3"}}, "no type 'Conv3x3'"),
        ({"temperature": 2.0}, "FeatureL2 has no temperature"),
        ({"weight": "much"}, "pair 'neck': weight"),
        ({"name": "my pair"}, "needs a name of letters"),
    ],
)
def test_a_pair_written_wrongly(tmp_path, teacher, change, says):
    assert says in refusal(tmp_path, toys.distill_hook(teacher, [toys.neck_pair(**change)]))


def test_a_teacher_with_other_padding_is_refused(tmp_path):
    model = toys.retinanet(8, 16)
    model["data_preprocessor"] = toys.preprocessor(pad_size_divisor=128)
    path = toys.teacher_config(tmp_path / "t.py", model)
    text = refusal(tmp_path, toys.distill_hook(path, [toys.neck_pair()]))
    assert "set pad_size_divisor=128" in text


BASE = """
custom_hooks = [dict(type="EMAHook"), dict(type="NumClassCheckHook")]
"""


@pytest.mark.parametrize(
    ("hooks", "dropped"),
    [
        ("[dict(type='DistillHook')]", "EMAHook, NumClassCheckHook"),
        ("[dict(type='NumClassCheckHook')]", "EMAHook"),
        ("[*_base_.custom_hooks, dict(type='DistillHook')]", None),
        ("_base_.custom_hooks + [dict(type='DistillHook')]", None),
    ],
)
def test_custom_hooks_that_would_drop_hooks_of_the_base(tmp_path, hooks, dropped):
    (tmp_path / "base.py").write_text(BASE)
    path = tmp_path / "child.py"
    path.write_text(f"_base_ = ['base.py']\ncustom_hooks = {hooks}\n")
    config = load_config(path)
    if dropped is None:
        check_custom_hooks(config)
        assert [hook["type"] for hook in config.custom_hooks] == [
            "EMAHook",
            "NumClassCheckHook",
            "DistillHook",
        ]
    else:
        with pytest.raises(UserError) as error:
            check_custom_hooks(config)
        assert f"drop {dropped};" in str(error.value)
        assert "[*_base_.custom_hooks, dict(type=...)]" in str(error.value)


def test_inspect_pairs_reports_shapes_connector_loss_and_share(tmp_path, teacher):
    hook = toys.distill_hook(teacher, [toys.neck_pair(weight=2.0), toys.response_pair()])
    reports = inspect_pairs(toys.training(tmp_path, toys.retinanet(), hooks=[hook]))[
        "distill"
    ].pairs
    neck = reports[0]
    assert neck.student == "neck [tensor (2, 8, 8, 8), tensor (2, 8, 4, 4)]"
    assert neck.teacher == "neck [tensor (2, 16, 8, 8), tensor (2, 16, 4, 4)]"
    assert "Conv1x1" in neck.connector
    assert neck.value > 0
    assert neck.gradient_share > 0
    for weight in (
        {"start": 0.0, "end": 2.0, "shape": "linear"},
        {"start": 2.0, "end": 0.5, "shape": "cosine", "warmup": 0.5},
    ):
        moving = toys.distill_hook(teacher, [toys.neck_pair(weight=weight)])
        config = toys.training(tmp_path, toys.retinanet(), hooks=[moving])
        (found,) = inspect_pairs(config)["distill"].pairs
        assert found.weight == 2.0
        assert found.gradient_share == pytest.approx(neck.gradient_share, rel=1e-5)
    doubled = toys.distill_hook(teacher, [toys.neck_pair(weight=4.0), toys.response_pair()])
    again = inspect_pairs(toys.training(tmp_path, toys.retinanet(), hooks=[doubled]))[
        "distill"
    ].pairs
    assert again[0].gradient_share == pytest.approx(2 * neck.gradient_share, rel=1e-5)


def test_a_batch_without_labels_has_no_share(tmp_path, teacher):
    hook = toys.distill_hook(teacher, [toys.neck_pair()])
    config = toys.training(tmp_path, toys.retinanet(), hooks=[hook])
    loader = config.train_dataloader
    loader.dataset = {"type": "Unlabelled", "dataset": loader.dataset}
    found = inspect_pairs(config)["distill"]
    assert found.pairs[0].gradient_share is None
    assert found.text.splitlines()[-1].endswith(
        "; the task has no gradient in this batch (no frame has labels), so none to compare"
    )
    assert "%" not in found.text


def test_a_pair_whose_weight_is_always_0(tmp_path, teacher):
    for weight in (0, {"start": 0.0, "end": 0.0, "shape": "linear"}):
        hook = toys.distill_hook(teacher, [toys.response_pair(), toys.neck_pair(weight=weight)])
        assert "pair 'neck': its weight is 0 all the time" in refusal(tmp_path, hook)


def test_a_training_without_iterations(tmp_path, teacher):
    hook = toys.distill_hook(teacher, [toys.neck_pair()])
    text = refusal(tmp_path, hook, iterations=0, param_scheduler=None)
    assert text.startswith("DistillHook 'distill': the training has 0 iterations, expected 1 or")


def test_inspect_modules_lists_what_a_tap_can_name(tmp_path, teacher):
    config = toys.training(
        tmp_path,
        toys.retinanet(),
        hooks=[toys.distill_hook(teacher, [toys.neck_pair(student="x")])],
    )
    found = inspect_modules(config)
    assert set(found) == {"student", "teacher of distill"}
    outputs = {out.name: out for out in found["student"]}
    assert outputs["neck"].output == "[tensor (2, 8, 8, 8), tensor (2, 8, 4, 4)]"
    assert outputs["bbox_head.retina_cls"].calls == 2


def test_modules_of_a_teacher_whose_loss_fails_are_listed(tmp_path, monkeypatch):
    from mmdet.models import RetinaNet

    class LossOfTraining(RetinaNet):
        def loss(self, images, samples):
            self.extract_feat(images)
            raise TypeError("missing 1 required positional argument: 'dn_meta'")

    monkeypatch.setitem(MODELS.module_dict, "LossOfTraining", LossOfTraining)
    model = {**toys.retinanet(), "type": "LossOfTraining"}
    teacher = toys.teacher_config(tmp_path / "teacher.py", model)
    hook = toys.distill_hook(teacher, [toys.neck_pair()])
    found = inspect_modules(toys.training(tmp_path, toys.retinanet(), hooks=[hook]))
    assert "neck" in {out.name for out in found["teacher of distill"]}


@pytest.mark.parametrize("before_its_neck", [False, True])
def test_connectors_are_built_before_the_students_weights_are_initialised(
    tmp_path, teacher, before_its_neck
):
    """Sparse R-CNN's proposals are random until then, which regions may not survive."""
    from mmdet.models import RetinaNet

    class Initialised(RetinaNet):
        ready = False

        def init_weights(self):
            super().init_weights()
            self.ready = True

        def loss(self, images, samples):
            losses = {} if before_its_neck else super().loss(images, samples)
            if not self.ready:
                raise RuntimeError("ROIs in ROIAlign cannot have non-negative size!")
            return losses or super().loss(images, samples)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS.module_dict, "Initialised", Initialised)
        student = {**toys.retinanet(), "type": "Initialised"}
        hook = toys.distill_hook(teacher, [toys.neck_pair()])
        found = inspect_pairs(toys.training(tmp_path, student, hooks=[hook]))
    assert found["distill"].pairs[0].connector.startswith("Conv1x1(")


def test_inspecting_a_config_without_the_hook_says_so(tmp_path):
    with pytest.raises(UserError, match="no DistillHook"):
        inspect_pairs(toys.training(tmp_path, toys.retinanet()))


def test_the_dataset_and_its_generators_are_left_alone(tmp_path, teacher):
    """Two runs whose only difference is the preflight see the same images in the same order."""
    seen = {}
    for name, hooks in (("plain", []), ("hook", [toys.distill_hook(teacher, [toys.neck_pair()])])):
        images = seen.setdefault(name, [])
        config = toys.training(tmp_path / name, toys.retinanet(), hooks=hooks)
        runner = Runner.from_cfg(config)
        runner.register_hook(
            toys.WatchBatch(lambda batch, images=images: images.append(batch["inputs"][0].clone()))
        )
        runner.train()
    assert len(seen["plain"]) == 4
    assert all(torch.equal(a, b) for a, b in zip(seen["plain"], seen["hook"], strict=True))


def test_a_config_is_not_changed_by_looking_at_it(tmp_path, teacher):
    hook = toys.distill_hook(teacher, [toys.neck_pair()])
    config = toys.training(tmp_path, toys.retinanet(), hooks=[hook])
    before = Config(config._cfg_dict.copy()).pretty_text
    inspect_modules(config)
    assert config.pretty_text == before
