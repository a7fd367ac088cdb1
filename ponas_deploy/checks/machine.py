"""What makes this machine a good or a bad place to measure, and what to do about it.

Every check looks at one thing and is a function of the readings alone; `CHECKS` is their order. What weighs
most is the noise floor, which is measured (`steadiness`): the rest explains it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from ponas_deploy.checks.steadiness import Steadiness
from ponas_deploy.checks.vitals import Vitals
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling.inventory import Runtime
from ponas_deploy.tables.quality import NOISY_PCT

Verdict: TypeAlias = Literal["good", "mind", "bad"]

_PLAN = Plan()
"""What spoils a round is bad; less than that is to be minded from here on:"""
_SOME_OTHERS_PCT, _SOME_STOLEN_PCT, _SOME_SHARED_PCT, _RESTLESS_PCT = 5.0, 0.5, 5.0, 2.0
_LITTLE_MEMORY_MIB = 1024
_NEAR_C = 10.0
_SLOW_MODES = ("low-power", "quiet", "cool")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at: what it is like, and what to do where that is not good."""

    about: str
    verdict: Verdict
    says: str
    do: str = ""


Check: TypeAlias = Callable[[Vitals], Diagnosis | None]
"""None where nothing can be read or there is nothing to say."""


def examine(vitals: Vitals, steady: Steadiness | None, runtimes: Sequence[Runtime]) -> tuple[Diagnosis, ...]:
    """All that there is to say, the measured noise first; within it what is bad, then what to mind."""
    rest = [*(check(vitals) for check in CHECKS), runtimes_installed(runtimes)]
    found = [diagnosis for diagnosis in rest if diagnosis is not None]
    order: tuple[Verdict, ...] = ("bad", "mind", "good")
    found.sort(key=lambda diagnosis: order.index(diagnosis.verdict))
    return (*noise(steady), *neighbours(steady), *found)


def noise(steady: Steadiness | None) -> Iterator[Diagnosis]:
    """What was measured: how well this machine repeats itself."""
    if steady is None:
        return
    worst = max(steady.rounds_pct, steady.processes_pct)
    says = (
        f"measuring the same networks twice differs by {steady.rounds_pct:.1f} %, fresh processes by"
        f" {steady.processes_pct:.1f} %; one inference in a hundred takes {steady.tail:.1f} times as long as"
        f" the median ({steady.backend}, {steady.p50_ms:.3g} ms)"
    )
    if worst > NOISY_PCT:
        do = "no table made now can predict better than this: first do what is advised below"
        yield Diagnosis("noise floor", "bad", says, do)
    elif worst > _RESTLESS_PCT:
        do = "good enough for budgets that leave a few percent; for better, see below"
        yield Diagnosis("noise floor", "mind", says, do)
    else:
        yield Diagnosis("noise floor", "good", says)


def neighbours(steady: Steadiness | None) -> Iterator[Diagnosis]:
    """Whether something that no counter shows shares the cores: the other half of a physical core, mostly."""
    if steady is None or steady.shared_pct < _SOME_SHARED_PCT:
        return
    says = (
        f"something that the system does not see shared the core in {steady.shared_pct:.0f} % of the samples:"
        " everything takes 1.3 to 1.8 times as long then"
    )
    verdict: Verdict = "bad" if steady.shared_pct > _PLAN.most_contended_pct else "mind"
    do = (
        "such samples are taken again; what runs here will meet them, though: use a machine with dedicated"
        " cores, and keep the other half of a physical core free (taskset)"
    )
    yield Diagnosis("neighbours", verdict, says, do)


def other_processes(vitals: Vitals) -> Diagnosis | None:
    """Who else uses the cores."""
    others = vitals.interference.others_pct
    names = ", ".join(
        f"{busy.name}{f' x{busy.count}' if busy.count > 1 else ''} {busy.share_pct:.0f} % of a core"
        for busy in vitals.busy[:4]
    )
    says = f"other processes used {others:.0f} % of the cores{f' ({names})' if names else ''}"
    if others > _PLAN.most_others_pct:
        do = "stop them or wait: a lower priority (nice) still shares caches and memory with what is measured"
        return Diagnosis("other processes", "bad", says, do)
    if others > _SOME_OTHERS_PCT:
        return Diagnosis("other processes", "mind", says, "close what is not needed")
    return Diagnosis("other processes", "good", says)


def load(vitals: Vitals) -> Diagnosis | None:
    """Whether more wants to run than there are cores."""
    if vitals.reading.load is None:
        return None
    cores = vitals.machine.cores
    says = f"load average {vitals.reading.load:.1f} on {cores} {'core' if cores == 1 else 'cores'}"
    if vitals.reading.load > cores:
        return Diagnosis("load", "bad", says, "wait until it is below half of the cores")
    if vitals.reading.load > cores / 2:
        return Diagnosis("load", "mind", says, "wait until it is below half of the cores")
    return Diagnosis("load", "good", says)


def steal(vitals: Vitals) -> Diagnosis | None:
    """Whether a hypervisor takes the cores away."""
    stolen = vitals.interference.stolen_pct
    if stolen > _SOME_STOLEN_PCT:
        verdict: Verdict = "bad" if stolen > _PLAN.most_stolen_pct else "mind"
        do = "use a machine with dedicated cores, or measure when its neighbours sleep"
        return Diagnosis("steal", verdict, f"the hypervisor took {stolen:.1f} % of the cores", do)
    if vitals.hypervisor:
        says = f"a virtual machine ({vitals.hypervisor}); the host took nothing while it was looked at"
        do = "compare latencies inside one run, and verify engines at another time of the day"
        return Diagnosis("virtual machine", "mind", says, do)
    return Diagnosis("virtual machine", "good", "none: nobody else gives the cores away")


def quota(vitals: Vitals) -> Diagnosis | None:
    """Whether a container's quota stops it in the middle of a measurement."""
    cores, held = vitals.machine.quota_cores, vitals.interference.quota_pct
    if cores is None:
        return Diagnosis("container quota", "good", "no limit on processor time")
    says = f"the container may use {cores:g} cores' time"
    do = "give it whole cores (--cpuset-cpus) instead of a share of time (--cpus)"
    if held > 0:
        return Diagnosis("container quota", "bad", f"{says} and was held up {held:.0f} % of the time", do)
    return Diagnosis("container quota", "mind", f"{says}: what needs more is stopped for a while", do)


def governor(vitals: Vitals) -> Diagnosis | None:
    """Whether clocks follow the load."""
    if not vitals.governors:
        says = "cannot be read here (usual for a virtual machine): the clocks may change unseen"
        return Diagnosis("governor", "mind", says, "compare latencies inside one run")
    says = f"frequency governor {', '.join(vitals.governors)}"
    if set(vitals.governors) == {"performance"}:
        return Diagnosis("governor", "good", says)
    do = "sudo cpupower frequency-set -g performance, unless the device will run with this one"
    return Diagnosis("governor", "mind", f"{says}: the clock follows the load, with a delay", do)


def turbo(vitals: Vitals) -> Diagnosis | None:
    """Whether clocks depend on heat and neighbours."""
    if vitals.turbo is None:
        return None
    if not vitals.turbo:
        return Diagnosis("turbo", "good", "off: the clock has a fixed highest value")
    do = (
        "for figures that repeat, switch it off (echo 0 > /sys/devices/system/cpu/cpufreq/boost, or echo 1 >"
        " .../intel_pstate/no_turbo); leave it on where the device will run with it"
    )
    return Diagnosis("turbo", "mind", "on: the clock depends on heat and on how many cores work", do)


def shared_cores(vitals: Vitals) -> Diagnosis | None:
    """Whether two of the cores are one."""
    cores = vitals.reading.affinity or "all"
    if not vitals.siblings:
        return Diagnosis("cores", "good", f"this process may run on {cores}; none shares a physical core")
    groups = "; ".join(vitals.siblings)
    says = f"this process may run on {cores}; these share a physical core: {groups}"
    do = "measure with --threads up to the number of physical cores, and keep the siblings free (taskset -c)"
    return Diagnosis("cores", "mind", says, do)


def heat(vitals: Vitals) -> Diagnosis | None:
    """Whether the machine is, or soon will be, slowed down."""
    held, now, limit = vitals.interference.held, vitals.reading.temperature_c, vitals.passive_c
    if held:
        do = "cool it, wait, or give it a better power supply, then measure"
        return Diagnosis("throttling", "bad", f"held back now: {', '.join(held)}", do)
    if now is None:
        return None
    says = f"{now:.0f} °C" + (f", slowed down from {limit:.0f} °C on" if limit else "")
    if limit and now > limit - _NEAR_C:
        return Diagnosis("temperature", "mind", says, "let it cool down, or measure what it does when warm")
    return Diagnosis("temperature", "good", says)


def power_mode(vitals: Vitals) -> Diagnosis | None:
    """Which power mode somebody chose."""
    mode = vitals.machine.power_mode
    if not mode:
        return None
    if mode.startswith("nvpmodel"):
        do = "profile in the mode the device will run in (sudo nvpmodel -m N, sudo jetson_clocks)"
        maximum = "MAXN" in mode
        return Diagnosis("power mode", "good" if maximum else "mind", mode, "" if maximum else do)
    if mode in _SLOW_MODES:
        return Diagnosis("power mode", "mind", f"platform profile {mode}", "choose 'performance'")
    return Diagnosis("power mode", "good", f"platform profile {mode}")


def battery(vitals: Vitals) -> Diagnosis | None:
    """Whether it runs on a battery."""
    if vitals.battery_pct is None:
        return None
    return Diagnosis("battery", "bad", f"on battery, {vitals.battery_pct:.0f} % left", "plug it in")


def memory(vitals: Vitals) -> Diagnosis | None:
    """Whether there is room for the networks of a profile."""
    if vitals.available_mib is None:
        return None
    says = f"{vitals.available_mib} MiB of {vitals.machine.memory_mib} MiB are free"
    swapped = f", {vitals.swapped_mib} MiB are swapped out" if vitals.swapped_mib else ""
    if vitals.available_mib < _LITTLE_MEMORY_MIB:
        do = "close other programs: a profile that waits for the disk measures the disk"
        return Diagnosis("memory", "bad", says + swapped, do)
    return Diagnosis("memory", "good", says + swapped)


def runtimes_installed(runtimes: Sequence[Runtime]) -> Diagnosis:
    """What there is to measure with."""
    here = [f"{one.backend} ({', '.join(one.precisions)})" for one in runtimes if not one.problem]
    if not here:
        return Diagnosis("runtimes", "bad", "none is installed", "pip install onnxruntime openvino")
    absent = [one.backend for one in runtimes if one.problem]
    says = ", ".join(here) + (f"; not here: {', '.join(absent)}" if absent else "")
    return Diagnosis("runtimes", "good", says)


CHECKS: tuple[Check, ...] = (
    other_processes,
    load,
    steal,
    quota,
    heat,
    battery,
    power_mode,
    governor,
    turbo,
    shared_cores,
    memory,
)


def verdict_of(found: Sequence[Diagnosis]) -> Verdict:
    """Of the whole machine: what was measured decides, else the worst of what was read."""
    measured = [diagnosis.verdict for diagnosis in found if diagnosis.about == "noise floor"]
    order: tuple[Verdict, ...] = ("bad", "mind", "good")
    return measured[0] if measured else min((d.verdict for d in found), key=order.index, default="good")


def doctor_document(vitals: Vitals, steady: Steadiness | None, found: Sequence[Diagnosis]) -> dict[str, Any]:
    """What `ponas doctor --json` prints."""
    return {
        "machine": vitals.machine.name,
        "verdict": verdict_of(found),
        "noise": steady and asdict(steady),
        "checks": [asdict(diagnosis) for diagnosis in found],
        "readings": asdict(vitals),
    }
