"""Boards whose latency can be predicted: SMs, clocks and memory of each power mode.

A file a board lies in ``devices/``; each of its numbers names where it was published. A board is
named "orin-agx-64gb", or with a power mode "orin-agx-64gb:30w".
"""

import difflib
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from kd3d.errors import UserError

_FOLDER = Path(__file__).with_name("devices")


@dataclass(frozen=True, kw_only=True)
class Device:
    """A board in one power mode.

    Attributes:
        name: of the board, as in :func:`device_names`.
        title: as its maker writes it.
        mode: power mode, "custom" where clocks or SMs were given.
        generation: "ampere" or "blackwell".
        operations_per_clock_sm: "int8", "fp16", "tf32", "fp32" to dense multiplications and
            additions of one SM in one clock.
        sms: streaming multiprocessors on line.
        gpu_mhz, emc_mhz, cpu_mhz: clocks of GPU, memory and CPU.
        cpu_per_clock: work of a CPU core in one clock, Orin's Cortex-A78AE being 1.
        memory_bus_bits: width of the memory bus; two transfers a clock.
        l2_mb: level-2 cache.
    """

    name: str
    title: str
    mode: str
    generation: str
    operations_per_clock_sm: dict[str, float]
    sms: int
    gpu_mhz: float
    emc_mhz: float
    cpu_mhz: float
    cpu_per_clock: float
    memory_bus_bits: int
    l2_mb: float

    @property
    def memory_gb_s(self) -> float:
        """Peak of the memory bus."""
        return self.memory_bus_bits / 8 * 2 * self.emc_mhz / 1e3

    @property
    def cpu_slowness(self) -> float:
        """Time that work of the CPU takes, that of a Cortex-A78AE at 2 GHz being 1."""
        return 2000.0 / (self.cpu_mhz * self.cpu_per_clock)

    def at(
        self, *, sms: int | None = None, gpu_mhz: float | None = None, emc_mhz: float | None = None
    ) -> "Device":
        """The same board with other SMs or clocks.

        Raises:
            UserError: for a number that is not finite and above zero, or more SMs than the board
                has in any mode.
        """
        given = {"sms": sms, "gpu_mhz": gpu_mhz, "emc_mhz": emc_mhz}
        changes = {key: value for key, value in given.items() if value is not None}
        for key, value in changes.items():
            if not 0 < value < math.inf:  # nor is nan
                raise UserError(f"{self.name}: {key} {value:g}; expected a number above 0")
        most = max(mode["sms"] for mode in _read(self.name)["modes"].values())
        if sms is not None and sms > most:
            raise UserError(f"{self.name}: sms {sms}; expected 1 to {most}, the board has no more")
        return replace(self, mode="custom", **changes) if changes else self  # type: ignore[arg-type]


def device_names() -> tuple[str, ...]:
    """Names of all boards."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def device_modes(name: str) -> tuple[str, ...]:
    """Power modes of a board, the default first."""
    entry = _read(load_device(name).name)
    return (entry["default_mode"], *(m for m in entry["modes"] if m != entry["default_mode"]))


def load_device(name: str) -> Device:
    """A board by its name or alias, "NAME" or "NAME:MODE"; upper case and spaces do no harm.

    A mode may be written as nvpmodel prints it, "MODE_30W".

    Raises:
        UserError: for an unknown board or mode; near names are offered.
    """
    board, _, mode = name.strip().lower().replace(" ", "-").replace("_", "-").partition(":")
    if board.endswith("-super"):
        board, mode = board.removesuffix("-super"), mode or "maxn-super"
    known = _aliases()
    if board not in known:
        near = difflib.get_close_matches(board, known, n=3, cutoff=0.4)
        hint = (
            f"did you mean {' or '.join(dict.fromkeys(known[n] for n in near))}? " if near else ""
        )
        raise UserError(f"device {name!r} is unknown; {hint}known are {', '.join(device_names())}")
    entry = _read(known[board])
    mode = mode.replace("-", "_").removeprefix("mode_") or entry["default_mode"]
    if mode not in entry["modes"]:
        raise UserError(
            f"device {known[board]!r} has no power mode {mode!r}; expected one of "
            f"{', '.join(entry['modes'])}, or give --sms, --gpu-mhz and --emc-mhz"
        )
    return Device(
        name=known[board],
        title=entry["title"],
        mode=mode,
        generation=entry["generation"],
        operations_per_clock_sm=entry["operations_per_clock_sm"],
        memory_bus_bits=entry["memory_bus_bits"],
        l2_mb=entry["l2_mb"],
        cpu_per_clock=entry["cpu_per_clock"],
        **entry["modes"][mode],
    )


@cache
def _aliases() -> dict[str, str]:
    names = {name: name for name in device_names()}
    for name in device_names():
        names.update(dict.fromkeys(_read(name)["aliases"], name))
    return names


@cache
def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((_FOLDER / f"{name}.yaml").read_text())
    return content
