import json

import pytest

from kd3d.profiling.cuda_device import ask_driver, cuda_device, main


class Driver:
    """libcuda of one GPU; ``fails`` names the call that answers an error."""

    attributes = {16: 8, 75: 8, 76: 7}  # noqa: RUF012

    def __init__(self, fails=""):
        self.fails = fails

    def __getattr__(self, name):
        return lambda *arguments: (
            100 if name == self.fails else getattr(self, f"_{name}")(*arguments)
        )

    def _cuInit(self, flags):  # noqa: N802
        return 0

    def _cuDeviceGet(self, device, ordinal):  # noqa: N802
        return 0

    def _cuDeviceGetName(self, name, length, device):  # noqa: N802
        name.value = b"Orin"
        return 0

    def _cuDeviceGetAttribute(self, value, attribute, device):  # noqa: N802
        value._obj.value = self.attributes[attribute]
        return 0


def test_the_driver_tells_name_sms_and_compute_capability():
    found = ask_driver(lambda name: Driver() if name == "libcuda.so.1" else None)
    assert found == {"gpu_name": "Orin", "gpu_sms": "8", "gpu_compute": "8.7"}


@pytest.mark.parametrize(
    "call", ["cuInit", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute"]
)
def test_a_driver_that_refuses_tells_nothing(call):
    assert ask_driver(lambda name: Driver(fails=call)) == {}


def test_no_driver():
    def load(name):
        raise OSError(name)

    assert ask_driver(load) == {}


def test_it_is_asked_in_another_process_and_only_where_there_is_a_gpu(system):
    programs = {"kd3d.profiling.cuda_device": json.dumps({"gpu_sms": "16"})}
    empty = {"gpu_name": "", "gpu_sms": "", "gpu_compute": ""}
    assert cuda_device(system(programs=programs)) == empty
    assert cuda_device(system({"/dev/nvidia0": ""}, programs)) == {**empty, "gpu_sms": "16"}
    assert cuda_device(system(programs={"kd3d.profiling.cuda_device": "no JSON"})) == empty


def test_main_prints_json(capsys):
    main()
    assert isinstance(json.loads(capsys.readouterr().out), dict)
