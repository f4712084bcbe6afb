import pytest
import torch
import toys
import toys3d
from mmengine.registry import MODELS, DefaultScope

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


def preprocessor(kind="Det3DDataPreprocessor", **settings):
    with DefaultScope.overwrite_default_scope("mmdet3d"):
        return MODELS.build({"type": kind, **settings})


def test_each_view_may_have_a_padding_of_its_own():
    """mmdet3d's MultiViewWrapper notes the shape of each."""
    other = preprocessor(mean=[4.0] * 3, std=[2.0] * 3)
    images = torch.zeros(1, 2, 3, 4, 4)  # every pixel is 10
    sample = type("Sample", (), {"img_shape": [(4, 4), (3, 4)]})
    made = TeacherInput(preprocessor(**IMAGES), other)({"imgs": images}, [sample])
    expected = torch.full_like(images, (10.0 - 4.0) / 2.0)
    expected[0, 1, :, 3] = 0.0
    assert torch.equal(made["imgs"], expected)


IMAGES = {"mean": [10.0] * 3, "std": [2.0] * 3}


def test_a_student_of_points_needs_no_voxels_of_its_own():
    teacher = toys3d.built(toys3d.centerpoint()).eval().data_preprocessor
    clouds = toys3d.points()
    made = TeacherInput(preprocessor(), teacher)({"points": clouds}, [])
    assert torch.equal(made["voxels"]["coors"], teacher.voxelize(clouds, [])["coors"])


def test_a_lidar_teacher_of_a_camera_student_wants_points_in_the_batch():
    teacher = toys3d.built(toys3d.centerpoint()).data_preprocessor
    maker = TeacherInput(preprocessor(**IMAGES), teacher)
    with pytest.raises(UserError, match=r"student's batch has \['imgs'\]; keep 'points'"):
        maker({"imgs": torch.zeros(1, 3, 4, 4)}, [])


def test_a_teacher_of_images_is_not_run_without_them():
    """MVXNet leaves its image branch out then, and answers."""
    lidar = toys3d.built(toys3d.centerpoint()).data_preprocessor
    for teacher in (preprocessor(**IMAGES), preprocessor("mmdet.DetDataPreprocessor", **IMAGES)):
        with pytest.raises(UserError, match=r"student's batch has \['points'\]; load images"):
            TeacherInput(lidar, teacher)({"points": toys3d.points()}, [])


def test_detectors_of_mmdet_and_mmdet3d_teach_each_other():
    in_3d, in_2d = preprocessor(**IMAGES), preprocessor("mmdet.DetDataPreprocessor", **IMAGES)
    images = torch.zeros(1, 3, 4, 4)
    assert torch.equal(TeacherInput(in_3d, in_2d)({"imgs": images}, []), images)
    assert TeacherInput(in_2d, in_3d)(images, []).keys() == {"imgs"}


def test_what_a_teacher_notes_of_its_voxels_is_not_read_by_the_student(monkeypatch):
    """Here the voxel of each point; MinkUNet's preprocessor notes the labels of its voxels, too."""
    from mmdet3d.models.data_preprocessors import data_preprocessor
    from mmdet3d.structures import Det3DDataSample

    # mmcv compiles the operator for GPUs alone
    monkeypatch.setattr(data_preprocessor, "dynamic_scatter_3d", lambda *_: (None, None, "noted"))
    layer = {"grid_shape": [4, 4, 4], "point_cloud_range": [0, -3.2, -4, 9, 3.2, 2]}
    layer.update(max_num_points=-1, max_voxels=-1)
    teacher = preprocessor(voxel=True, voxel_type="cylindrical", voxel_layer=layer).eval()
    samples = [Det3DDataSample(), Det3DDataSample()]
    made = TeacherInput(preprocessor(), teacher)({"points": toys3d.points()}, samples)
    assert len(made["voxels"]["coors"]) > 0
    assert [sample.keys() for sample in samples] == [[], []]


def test_a_batch_of_clips_is_refused():
    """As mmdet's trackers have it: (B, T, C, H, W) of a key frame and its reference."""
    student = toys3d.built(toys.retinanet(), scope="mmdet")
    maker = TeacherInput(student.data_preprocessor, student.data_preprocessor)
    with pytest.raises(UserError, match=r"the student's batch holds \['img'\], expected images"):
        maker({"img": torch.zeros(1, 2, 3, 4, 4)}, [])


def test_a_lidar_teacher_of_an_image_student_is_refused():
    student, teacher = (
        toys3d.built(toys.retinanet(), scope="mmdet"),
        toys3d.built(toys3d.centerpoint()),
    )
    with pytest.raises(UserError, match="teacher reads points, the student's DetDataPreprocessor"):
        TeacherInput(student.data_preprocessor, teacher.data_preprocessor)
