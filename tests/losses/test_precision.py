import torch

from kd3d.losses.precision import in_float32


@in_float32
def product(student, teacher, scale=1.0):
    return (student @ teacher) * scale


def test_autocast_is_off_inside_and_on_again_outside():
    student, teacher = torch.randn(4, 4).bfloat16(), torch.randn(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        received = product(student, teacher, scale=2.0)
        assert (teacher @ teacher).dtype == torch.bfloat16
    torch.testing.assert_close(received, (student.float() @ teacher) * 2)


def test_arguments_may_be_named():
    student = torch.randn(2, 2).half()
    assert product(student=student, teacher=student).dtype == torch.float32
