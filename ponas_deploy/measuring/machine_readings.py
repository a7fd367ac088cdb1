"""What can be read of a machine that is to measure, in one value: everything that changes its speed.

`Machine` and `Reading` of `machines` and the `Round` of `interference` are part of it; here is what only
`check_machine` needs. What cannot be read is empty or None. Files of Linux:
https://docs.kernel.org/admin-guide/pm/,
https://docs.kernel.org/ABI/testing/sysfs-devices-system-cpu and man 5 proc; psutil answers elsewhere.
Runs on a board as it is.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from ponas_deploy.machines.conditions import Reading, read_conditions
from ponas_deploy.machines.gpu_state import GpuState, read_gpu_state
from ponas_deploy.machines.machine import Machine, memory_mib, this_machine
from ponas_deploy.machines.system_files import ROOT
from ponas_deploy.measuring.interference import Round, between, take_snapshot

_MIB = 1 << 20
_CPU = "sys/devices/system/cpu"


@dataclass(frozen=True)
class Busy:
    """Processes of one name that work: how many there are, and the share of one core they use together."""

    name: str
    count: int
    share_pct: float


@dataclass(frozen=True)
class MachineReadings:
    """What was read of a machine in about a second.

    `interference` is of that second. `busy` are the processes that worked in it, the busiest first.
    `governors` are those of the cores this process may use. `turbo` is whether clocks may go above the base
    clock. `siblings` are groups of cores that share one physical core, as in "0,4", where this process may
    use one of them. `passive_c` is where the machine starts to slow down for heat. `battery_pct` is None
    where it is plugged in or has none.
    """

    machine: Machine
    reading: Reading = field(default_factory=Reading)
    interference: Round = field(default_factory=lambda: Round(0))
    busy: tuple[Busy, ...] = ()
    governors: tuple[str, ...] = ()
    turbo: bool | None = None
    siblings: tuple[str, ...] = ()
    hypervisor: str = ""
    passive_c: float | None = None
    battery_pct: float | None = None
    available_mib: int | None = None
    swapped_mib: int = 0
    gpu: GpuState | None = None


def read_machine(seconds: float = 1.0, root: Path = ROOT) -> MachineReadings:
    """Read this machine over so many seconds, during which this process sleeps."""
    before, used = take_snapshot(), used_s(root)
    time.sleep(seconds)
    after = take_snapshot()
    cores = _cores(read_conditions(root).affinity)
    return MachineReadings(
        machine=this_machine(),
        reading=after.reading,
        interference=between(0, before, after),
        busy=_busy(used, used_s(root), after.counters.at_s - before.counters.at_s),
        governors=governors(cores, root),
        turbo=turbo(root),
        siblings=siblings(cores, root),
        hypervisor=hypervisor(root),
        passive_c=passive_c(root),
        battery_pct=battery_pct(root),
        available_mib=memory_mib("available"),
        swapped_mib=swapped_mib(root),
        gpu=read_gpu_state(root),
    )


def governors(cores: tuple[int, ...], root: Path = ROOT) -> tuple[str, ...]:
    """The frequency governors of `cores`, each once."""
    found = (_text(root / _CPU / f"cpu{core}/cpufreq/scaling_governor") for core in cores)
    return tuple(sorted(set(found) - {""}))


def turbo(root: Path = ROOT) -> bool | None:
    """Whether clocks may go above the base clock; None where nothing says so."""
    for name, on in (("intel_pstate/no_turbo", "0"), ("cpufreq/boost", "1")):
        if text := _text(root / _CPU / name):
            return text == on
    return None


def siblings(cores: tuple[int, ...], root: Path = ROOT) -> tuple[str, ...]:
    """The groups of cores that are one physical core, of which one is in `cores`; none of a single core."""
    found = (_text(root / _CPU / f"cpu{core}/topology/thread_siblings_list") for core in cores)
    return tuple(dict.fromkeys(text for text in found if len(_cores(text)) > 1))


def hypervisor(root: Path = ROOT) -> str:
    """What this machine is a guest of, empty on bare metal: the vendor, or just that it is one."""
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    kind = _text(root / "sys/hypervisor/type")
    if not kind and not (flags and "hypervisor" in flags.group(1).split()):
        return ""
    return kind or _text(root / "sys/class/dmi/id/sys_vendor") or "unknown"


def passive_c(root: Path = ROOT) -> float | None:
    """The lowest temperature at which some zone starts to slow the machine down."""
    kinds = (root / "sys/class/thermal").glob("thermal_zone*/trip_point_*_type")
    passive = (kind for kind in kinds if _text(kind) == "passive")
    texts = (_text(kind.with_name(kind.name.replace("_type", "_temp"))) for kind in passive)
    degrees = [int(text) / 1000 for text in texts if text.isdigit() and int(text) > 0]
    return min(degrees, default=None)


def _cores(ranges: str) -> tuple[int, ...]:
    """The numbers in "0-3,6"."""
    pairs = [part.partition("-") for part in ranges.split(",") if part]
    return tuple(n for start, _, end in pairs for n in range(int(start), int(end or start) + 1))


def used_s(root: Path = ROOT) -> dict[tuple[int, str], float]:
    """Processor seconds of every other process that may be read, by number and name."""
    found = _from_files(root) if (root / "proc/self/stat").exists() else _from_psutil()
    return {of: seconds for of, seconds in found.items() if of[0] != os.getpid()}


def _from_files(root: Path) -> dict[tuple[int, str], float]:
    """By /proc/PID/stat: the name stands in brackets and may hold anything, 12th and 13th after it count."""
    found, a_second = {}, os.sysconf("SC_CLK_TCK")
    for path in (root / "proc").glob("[0-9]*/stat"):
        head, _, rest = _text(path).rpartition(")")
        number, _, name = head.partition("(")
        fields = rest.split()
        if len(fields) > 12:
            found[int(number), name] = (int(fields[11]) + int(fields[12])) / a_second
    return found


def _from_psutil() -> dict[tuple[int, str], float]:
    import psutil

    listed = (process.info for process in psutil.process_iter(["pid", "name", "cpu_times"]))
    return {
        (one["pid"], one["name"] or "?"): one["cpu_times"].user + one["cpu_times"].system
        for one in listed
        if one["cpu_times"] is not None
    }


def _busy(
    before: dict[tuple[int, str], float], after: dict[tuple[int, str], float], seconds: float
) -> tuple[Busy, ...]:
    """Who used at least a fiftieth of a core, by name."""
    shares: dict[str, int] = {}
    counts: dict[str, int] = {}
    for (number, name), until_s in after.items():
        share_pct = 100 * (until_s - before.get((number, name), until_s)) / seconds
        if share_pct >= 2:
            shares[name] = shares.get(name, 0) + round(share_pct)
            counts[name] = counts.get(name, 0) + 1
    busiest = sorted(shares, key=lambda name: -shares[name])
    return tuple(Busy(name, counts[name], shares[name]) for name in busiest)


def battery_pct(root: Path = ROOT) -> float | None:
    """What is left of the battery; None where the machine is plugged in or has none."""
    supplies = root / "sys/class/power_supply"
    if not supplies.exists():
        return _battery_of_psutil()
    if any(_text(path) == "1" for path in supplies.glob("*/online")):
        return None
    batteries = [path.parent for path in supplies.glob("*/type") if _text(path) == "Battery"]
    # What a battery of a keyboard or a mouse says is not of this machine.
    left = [_text(one / "capacity") for one in batteries if _text(one / "scope") != "Device"]
    emptying = [one for one in batteries if _text(one / "status") == "Discharging"]
    return min((float(text) for text in left if text.isdigit()), default=None) if emptying else None


def _battery_of_psutil() -> float | None:
    try:
        import psutil
    except ImportError:  # boards have none
        return None
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return float(battery.percent) if battery and not battery.power_plugged else None


def swapped_mib(root: Path = ROOT) -> int:
    """What of the memory is swapped out."""
    text = _text(root / "proc/meminfo")
    total, free = (re.search(rf"^Swap{kind}:\s+(\d+) kB$", text, re.MULTILINE) for kind in ("Total", "Free"))
    if total and free:
        return (int(total.group(1)) - int(free.group(1))) // 1024
    try:
        import psutil
    except ImportError:
        return 0
    return int(psutil.swap_memory().used) // _MIB


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
