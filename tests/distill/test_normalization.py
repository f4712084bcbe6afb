import pytest
import torch
import toys
from mmengine.model import BaseDataPreprocessor, ImgDataPreprocessor
from mmengine.registry import MODELS, DefaultScope

from kd3d.distill.normalization import Normalization, Renormalizer, renormalizer_between
from kd3d.distill.recorder import Tap
from kd3d.distill.teacher import Teacher
from kd3d.distill.teacher_input import TeacherInput
from kd3d.errors import UserError


def built(**preprocessor):
    model = toys.retinanet()
    model["data_preprocessor"] = toys.preprocessor(**preprocessor)
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(model)


def batch(model, pictures):
    """What ``model``'s preprocessor makes of BGR pictures."""
    from mmdet.structures import DetDataSample

    samples = [DetDataSample(metainfo={"img_shape": tuple(p.shape[1:])}) for p in pictures]
    data = {"inputs": pictures, "data_samples": samples}
    return model.data_preprocessor(data, training=False)


def between(student, teacher):
    return renormalizer_between(student.data_preprocessor, teacher.data_preprocessor)


def test_one_pixel_by_hand():
    student = Normalization((100.0, 0.0, 0.0), (50.0, 1.0, 1.0), True, 0.0, 32)
    teacher = Normalization((0.0, 0.0, 20.0), (1.0, 1.0, 10.0), False, 0.0, 32)
    rgb = torch.tensor([1.0, 7.0, 9.0]).view(1, 3, 1, 1)  # red 1 * 50 + 100 = 150, green 7, blue 9
    sample = type("Sample", (), {"img_shape": (1, 1)})
    bgr = Renormalizer(student, teacher)(rgb, [sample])
    assert bgr.flatten().tolist() == [9.0, 7.0, (150.0 - 20.0) / 10.0]


@pytest.mark.parametrize(
    "teacher",
    [
        {"mean": [103.53, 116.28, 123.675], "std": [1.0, 1.0, 1.0], "bgr_to_rgb": False},
        {"mean": [0.0, 0.0, 0.0], "std": [255.0, 255.0, 255.0]},
        {"pad_value": 1.5},
        {"mean": [127.0] * 3, "std": [128.0] * 3, "pad_size_divisor": 16},
    ],
)
def test_the_teacher_sees_what_its_own_preprocessor_would_make(teacher):
    generator = torch.Generator().manual_seed(0)
    pictures = [
        torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
        for size in ((40, 64), (64, 50))
    ]
    student_model, teacher_model = built(), built(**teacher)
    given = batch(student_model, pictures)
    renormalizer = between(student_model, teacher_model)
    expected = batch(teacher_model, pictures)["inputs"]
    got = renormalizer(given["inputs"], given["data_samples"])
    assert not torch.allclose(given["inputs"], expected, atol=0.1)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)


def test_equal_preprocessors_need_none():
    given = batch(built(), [torch.zeros(3, 64, 40, dtype=torch.uint8)])
    assert between(built(), built())(given["inputs"], given["data_samples"]) is given["inputs"]


def test_the_students_batch_is_not_changed():
    given = batch(built(), [torch.zeros(3, 64, 40, dtype=torch.uint8)])
    before = given["inputs"].clone()
    between(built(), built(pad_value=3.0))(given["inputs"], given["data_samples"])
    assert torch.equal(given["inputs"], before)


@pytest.mark.parametrize("student", [BaseDataPreprocessor, ImgDataPreprocessor])
def test_grey_images_without_normalization_keep_their_channel(student):
    sample = type("Sample", (), {"img_shape": (8, 8)})
    between = renormalizer_between(student(), ImgDataPreprocessor(mean=[127.0], std=[50.0]))
    given = torch.full((2, 1, 8, 8), 227.0)
    got = between(given, [sample, sample])
    assert torch.equal(got, torch.full((2, 1, 8, 8), (227.0 - 127.0) / 50.0))


def test_coarser_padding_of_the_teacher_is_refused():
    with pytest.raises(UserError, match="set pad_size_divisor=64"):
        between(built(), built(pad_size_divisor=64))


def test_a_preprocessor_of_another_kind_is_refused():
    with pytest.raises(UserError, match="teacher: data_preprocessor Linear"):
        Normalization.of(torch.nn.Linear(1, 1), owner="teacher")


def test_a_teacher_uses_it():
    student, model = built(), built(mean=[0.0] * 3, std=[1.0] * 3)
    given = batch(student, [torch.full((3, 64, 64), 200, dtype=torch.uint8)])
    seen = []
    model.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    prepare = TeacherInput(student.data_preprocessor, model.data_preprocessor)
    teacher = Teacher(model, [Tap.parse("neck")], prepare=prepare)
    teacher.features(given["inputs"], given["data_samples"])
    torch.testing.assert_close(seen[0], torch.full_like(seen[0], 200.0), rtol=0, atol=1e-3)
