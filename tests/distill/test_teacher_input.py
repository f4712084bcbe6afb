import pytest
import torch
import toys
import toys3d

from kd3d.distill.recorder import Tap
from kd3d.distill.teacher import Teacher
from kd3d.distill.teacher_input import TeacherInput
from kd3d.errors import UserError


def batch(model, clouds):
    """What ``model`` is fed with while it is in its present mode."""
    from mmdet3d.structures import Det3DDataSample

    data = {"inputs": {"points": clouds}, "data_samples": [Det3DDataSample() for _ in clouds]}
    return model.data_preprocessor(data, training=False)


def prepared(student, teacher, given):
    maker = TeacherInput(student.data_preprocessor, teacher.data_preprocessor)
    return maker(given["inputs"], given["data_samples"])


@pytest.mark.parametrize(
    "model",
    [toys3d.centerpoint(8, pillar_m=0.2), toys3d.voxel_centerpoint()],
    ids=["pillars", "voxels"],
)
def test_a_teacher_of_other_voxels_gives_what_it_gives_when_fed_directly(model):
    student, teacher = toys3d.built(toys3d.centerpoint()), toys3d.built(model, seed=1).eval()
    clouds = toys3d.points()
    tap = Tap.parse("pts_neck[0]")
    direct = Teacher(teacher, [tap]).features(**_named(batch(teacher, clouds)))[tap]
    given = batch(student.train(), clouds)
    maker = TeacherInput(student.data_preprocessor, teacher.data_preprocessor)
    through = Teacher(teacher, [tap], prepare=maker).features(**_named(given))[tap]
    assert torch.equal(through, direct)


def _named(given):
    return {"inputs": given["inputs"], "samples": given["data_samples"]}


def count_calls(monkeypatch, preprocessor):
    calls = []
    voxelize = preprocessor.voxelize
    monkeypatch.setattr(preprocessor, "voxelize", lambda *a: calls.append(1) or voxelize(*a))
    return calls


def test_equal_voxels_are_made_once_and_not_shared(monkeypatch):
    student, teacher = (
        toys3d.built(toys3d.centerpoint()),
        toys3d.built(toys3d.centerpoint(8)).eval(),
    )
    given = batch(student.train(), toys3d.points())
    calls = count_calls(monkeypatch, teacher.data_preprocessor)
    made = prepared(student, teacher, given)
    assert calls == []
    for key, value in given["inputs"]["voxels"].items():
        assert torch.equal(made["voxels"][key], value)
        assert made["voxels"][key].data_ptr() != value.data_ptr()


def test_a_legacy_pillar_encoder_leaves_the_students_voxels_alone():
    """It subtracts the pillar centre from the points in place."""
    model = toys3d.centerpoint(8)
    model["pts_voxel_encoder"]["legacy"] = True
    student, teacher = toys3d.built(toys3d.centerpoint()), toys3d.built(model).eval()
    given = batch(student, toys3d.points())
    before = given["inputs"]["voxels"]["voxels"].clone()
    maker = TeacherInput(student.data_preprocessor, teacher.data_preprocessor)
    Teacher(teacher, [Tap.parse("pts_neck")], prepare=maker).features(**_named(given))
    assert torch.equal(given["inputs"]["voxels"]["voxels"], before)


def test_voxels_cut_by_the_students_limit_are_made_anew(monkeypatch):
    """In training it keeps fewer; 50 of them are full here, the teacher keeps 4000."""
    model = toys3d.centerpoint()
    model["data_preprocessor"]["voxel_layer"]["max_voxels"] = (50, 4000)
    student, teacher = toys3d.built(model).train(), toys3d.built(toys3d.centerpoint(8)).eval()
    given = batch(student, toys3d.points())
    assert len(given["inputs"]["voxels"]["coors"]) == 2 * 50
    calls = count_calls(monkeypatch, teacher.data_preprocessor)
    made = prepared(student, teacher, given)
    assert calls == [1]
    assert len(made["voxels"]["coors"]) > 2 * 50


def test_images_beside_points_are_renormalised():
    def with_images(mean):
        model = toys3d.centerpoint()
        model["data_preprocessor"].update(mean=[mean] * 3, std=[2.0] * 3)
        return toys3d.built(model)

    student, teacher = with_images(10.0), with_images(4.0)
    images = torch.zeros(1, 2, 3, 4, 4)  # two views of a frame, every pixel is 10
    sample = type("Sample", (), {"img_shape": (4, 4)})
    maker = TeacherInput(student.data_preprocessor, teacher.data_preprocessor)
    made = maker({"points": toys3d.points(1), "imgs": images}, [sample])
    assert torch.equal(made["imgs"], torch.full_like(images, (10.0 - 4.0) / 2.0))


def test_a_lidar_teacher_of_an_image_student_is_refused():
    student, teacher = (
        toys3d.built(toys.retinanet(), scope="mmdet"),
        toys3d.built(toys3d.centerpoint()),
    )
    with pytest.raises(UserError, match="teacher reads points, the student's DetDataPreprocessor"):
        TeacherInput(student.data_preprocessor, teacher.data_preprocessor)
