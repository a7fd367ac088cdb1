"""Energy, where the machine counts it: RAPL of a processor, NVML of a GPU, the power monitors of a Jetson.

RAPL (https://docs.kernel.org/power/powercap/powercap.html) and NVML count; the INA3221 of a Jetson says the
power of the moment, which is summed over time here. All of them count a whole package, GPU or board, whoever
works on it. What cannot be read is not guessed: `no_counter` says why and what to do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from time import perf_counter, sleep
from typing import Any, Callable

from ponas_deploy.machines.gpu import first_uuid
from ponas_deploy.machines.nvidia import handle_of
from ponas_deploy.machines.system_files import ROOT, read_text

_SAMPLE_S = 0.01
"""A power monitor is asked so often; it averages over some milliseconds itself."""
_WHOLE_BOARD = ("VDD_IN", "POM_5V_IN")
"""Rails of Jetsons through which the whole board is fed; without one the rails are parts, and added up."""
_POWERCAP = "sys/class/powercap"
_MONITORS = "sys/bus/i2c/drivers/ina3221*/*"


@dataclass(frozen=True)
class EnergyCounter:
    """What counts energy: `joules` only goes up, from anywhere.

    With `watts` instead, the power of the moment is all that is known. Within `window_s` seconds it moves
    often enough for a percent or two.
    """

    source: str
    joules: Callable[[], float] | None = None
    watts: Callable[[], float] | None = None
    window_s: float = 0.5


@dataclass(frozen=True)
class EnergyTaken:
    """What inferences took together, by `source`: `joules` in `seconds`, and the power of the idle machine.

    The energy is that of everything the counter counts, the idle power among it.
    """

    source: str
    inferences: int
    joules: float
    seconds: float
    idle_w: float

    def __post_init__(self) -> None:
        if not (self.inferences > 0 and self.joules > 0 and self.seconds > 0 and self.idle_w >= 0):
            raise ValueError("energy: expected inferences, joules and seconds above 0, and idle_w from 0 on.")

    @property
    def mj(self) -> float:
        """Millijoules an inference."""
        return 1e3 * self.joules / self.inferences

    @property
    def above_idle_mj(self) -> float:
        """Millijoules an inference beyond what the idle machine takes in that time; 0 at the least."""
        return max(0.0, 1e3 * (self.joules - self.idle_w * self.seconds) / self.inferences)


class EnergyMeter:
    """Joules between entering and leaving, by a counter: `joules` and `seconds`, known afterwards."""

    def __init__(self, counter: EnergyCounter) -> None:
        self._counter = counter
        self._over = Event()
        self._thread = Thread(target=self._sample, daemon=True)
        self._start_j = self._start_s = 0.0
        self.joules = self.seconds = 0.0

    def __enter__(self) -> EnergyMeter:
        self._start_s = perf_counter()
        if self._counter.joules:
            self._start_j = self._counter.joules()
        else:
            self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._counter.joules:
            self.joules = self._counter.joules() - self._start_j
            self.seconds = perf_counter() - self._start_s
        else:
            self._over.set()
            self._thread.join()

    def _sample(self) -> None:
        """Sum power over time, by the trapezoidal rule."""
        watts = self._counter.watts
        if watts is None:
            return
        last_s, last_w, over = self._start_s, watts(), False
        while not over:
            over = self._over.wait(_SAMPLE_S)
            now_s, now_w = perf_counter(), watts()
            self.joules += (now_s - last_s) * (now_w + last_w) / 2
            last_s, last_w = now_s, now_w
        self.seconds = last_s - self._start_s


def idle_watts(counter: EnergyCounter, seconds: float) -> float:
    """Mean power by a counter while this process sleeps."""
    with EnergyMeter(counter) as meter:
        sleep(seconds)
    return meter.joules / meter.seconds


def energy_counter(*, on_gpu: bool, root: Path = ROOT) -> EnergyCounter | None:
    """What counts the energy of a runtime on the processor or the GPU; None where nothing can be read."""
    board = _board_counter(root)
    if on_gpu:
        return _gpu_counter() or board
    return _rapl_counter(root) or board


def no_counter(*, on_gpu: bool, root: Path = ROOT) -> str:
    """Why there is no counter, and what gives permission, as a sentence without its capital."""
    refused = [path for path in _rapl_files(root) if not read_text(path)]
    if refused and not on_gpu:
        return (
            f"no energy counter here: {refused[0]} may be read by root alone. `sudo chmod a+r"
            f" /{_POWERCAP}/intel-rapl*/energy_uj` allows it until the next start."
        )
    if on_gpu:
        return (
            "no energy counter here: NVML counts no energy of this GPU, and the board has no power monitor."
        )
    return f"no energy counter here: neither /{_POWERCAP} (RAPL) nor the power monitor of a Jetson is there."


def _rapl_files(root: Path) -> list[Path]:
    """The counters of packages, and of their memory, which no package counts."""
    found = []
    for folder in sorted((root / _POWERCAP).glob("intel-rapl:*")):
        if re.match(r"package-|dram", read_text(folder / "name")) and (folder / "energy_uj").exists():
            found.append(folder / "energy_uj")
    return found


def _rapl_counter(root: Path) -> EnergyCounter | None:
    files = _rapl_files(root)
    if not files or not all(read_text(path).isdigit() for path in files):
        return None
    ranges = [read_text(path.with_name("max_energy_range_uj")) for path in files]
    last: dict[Path, int] = {}
    wrapped = dict.fromkeys(files, 0)

    def joules() -> float:
        """All of them; each wraps for itself."""
        for path, most in zip(files, ranges):
            text = read_text(path)
            now = int(text) if text.isdigit() else last.get(path, 0)
            if now < last.get(path, 0) and most.isdigit():
                wrapped[path] += int(most)
            last[path] = now
        return sum(last[path] + wrapped[path] for path in files) / 1e6

    names = sorted({read_text(path.with_name("name")) for path in files})
    return EnergyCounter(f"RAPL {', '.join(names)}", joules)


def _gpu_counter() -> EnergyCounter | None:
    try:
        nvml: Any = import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handle = handle_of(nvml, first_uuid())
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:
        return None
    return EnergyCounter(
        "NVML",
        lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3,
        window_s=2.0,  # it moves every 20 to 100 ms
    )


def _board_counter(root: Path) -> EnergyCounter | None:
    """The rails of the power monitors of a Jetson, in JetPack 5 and later, or in 4."""
    rails = {**_hwmon_rails(root), **_iio_rails(root)}
    whole = [name for name in rails if name in _WHOLE_BOARD]
    used = whole[:1] or sorted(rails)
    if not used or any(rails[name]() is None for name in used):
        return None
    return EnergyCounter(
        f"INA3221 {', '.join(used)}", watts=lambda: sum(rails[name]() or 0.0 for name in used), window_s=1.0
    )


def _hwmon_rails(root: Path) -> dict[str, Callable[[], float | None]]:
    """By label, volts times amperes: files in millivolts and milliamperes."""
    rails: dict[str, Callable[[], float | None]] = {}
    for label in sorted(root.glob(f"{_MONITORS}/hwmon/hwmon*/in*_label")):
        number = label.name[len("in") : -len("_label")]
        volts, amperes = label.with_name(f"in{number}_input"), label.with_name(f"curr{number}_input")
        if amperes.exists():  # what sums the others has no current
            rails[read_text(label)] = _power(volts, amperes, 1e-6)
    return rails


def _iio_rails(root: Path) -> dict[str, Callable[[], float | None]]:
    """By name: files in milliwatts."""
    rails: dict[str, Callable[[], float | None]] = {}
    for label in sorted(root.glob(f"{_MONITORS}/iio:device*/rail_name_*")):
        number = label.name[len("rail_name_") :]
        rails[read_text(label)] = _power(label.with_name(f"in_power{number}_input"), None, 1e-3)
    return rails


def _power(first: Path, second: Path | None, factor: float) -> Callable[[], float | None]:
    def watts() -> float | None:
        texts = [read_text(path) for path in (first, second) if path]
        if not all(re.fullmatch(r"-?\d+", text) for text in texts):
            return None
        numbers = [int(text) for text in texts]
        return factor * numbers[0] * (numbers[1] if second else 1)

    return watts
