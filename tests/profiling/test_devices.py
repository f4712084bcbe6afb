import pytest

from kd3d.errors import UserError
from kd3d.profiling.devices import device_modes, device_names, load_device


def test_the_boards_that_are_asked_for_are_there():
    assert device_names() == (
        "drive-orin",
        "orin-agx-32gb",
        "orin-agx-64gb",
        "orin-nano-4gb",
        "orin-nano-8gb",
        "orin-nx-16gb",
        "orin-nx-8gb",
        "thor-t5000",
    )


# Totals that NVIDIA prints, halved where they count sparse operations; DLAs taken off. GB/s too.
PUBLISHED = {
    "orin-agx-64gb": (171 / 2, 204.8),
    "orin-nx-16gb": (60 / 2, 102.4),  # 100 TOPS with two DLAs of 20
    "orin-nano-8gb": (40 / 2, 68.3),
    "orin-nano-8gb:maxn_super": (67 / 2, 102.4),
    "orin-nano-4gb": (20 / 2, 34.1),
    "drive-orin": (167 / 2, 204.8),
    "thor-t5000": (1035 / 2, 273.0),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_peaks_are_those_that_the_maker_prints(name):
    tops, gb_s = PUBLISHED[name]
    device = load_device(name)
    int8_tops = device.operations_per_clock_sm["int8"] * device.sms * device.gpu_mhz / 1e6
    assert int8_tops == pytest.approx(tops, rel=0.025)
    assert device.memory_gb_s == pytest.approx(gb_s, rel=0.01)


def test_every_mode_loads_and_every_number_has_a_source():
    for name in device_names():
        assert load_device(name).mode == device_modes(name)[0]
        for mode in device_modes(name):
            device = load_device(f"{name}:{mode}")
            assert 2 <= device.sms <= 20
            assert 300 <= device.gpu_mhz <= 1600


@pytest.mark.parametrize("name", ["AGX Orin", "agx-orin", "Jetson_AGX_Orin", "orin-agx-64gb"])
def test_aliases(name):
    assert load_device(name).name == "orin-agx-64gb"


def test_super_is_a_mode():
    assert load_device("orin-nano-8gb-super") == load_device("orin-nano-8gb:maxn_super")


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        ("orin-agx-64gb:MODE_30W", "30w"),  # "NV Power Mode: MODE_30W", as nvpmodel prints it
        ("orin-agx-64gb:mode-50w", "50w"),
        ("orin-nano-8gb:MAXN_SUPER", "maxn_super"),
        ("orin-nano-4gb:7W_AI", "7w_ai"),
        ("orin-agx-64gb:", "maxn"),
    ],
)
def test_modes_as_the_board_prints_them(written, mode):
    assert load_device(written).mode == mode


def test_near_names_are_offered():
    with pytest.raises(UserError, match="'orin-agx-46gb' is unknown; did you mean orin-agx-64gb"):
        load_device("orin-agx-46gb")
    with pytest.raises(UserError, match="no power mode '70w'; expected one of maxn, 50w, 30w, 15w"):
        load_device("orin-agx-64gb:70w")


def test_other_clocks_make_a_custom_mode():
    device = load_device("orin-agx-64gb").at(sms=8, gpu_mhz=900)
    assert (device.mode, device.sms, device.gpu_mhz, device.emc_mhz) == ("custom", 8, 900, 3199)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), -float("inf")])
def test_a_clock_is_a_finite_number_above_0(value):
    device = load_device("orin-agx-64gb")
    for clock in ("gpu_mhz", "emc_mhz"):
        with pytest.raises(UserError, match=f"{clock} {value:g}; expected a number above 0"):
            device.at(**{clock: value})


def test_a_board_has_no_more_sms_than_its_largest_mode():
    device = load_device("orin-agx-64gb:30w")  # 8 on line, of 16
    assert device.at(sms=16).sms == 16
    for sms in (17, 10**9):
        with pytest.raises(UserError, match=f"sms {sms}; expected 1 to 16"):
            device.at(sms=sms)
    with pytest.raises(UserError, match="sms 0; expected a number above 0"):
        device.at(sms=0)
