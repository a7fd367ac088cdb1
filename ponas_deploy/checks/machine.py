"""What makes a machine a good or a bad place to measure, and what to do about it.

Every check is a function of the readings alone; `CHECKS` is their order. What weighs most is the noise floor,
which is measured: the rest explains it. An "error" falsifies measurements, a "warning" asks for care.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ponas_deploy.backends import registry
from ponas_deploy.boards.link import BoardError
from ponas_deploy.checks.gpu import GPU_CHECKS
from ponas_deploy.checks.noise_floor import NoiseFloor, measure_noise_floor
from ponas_deploy.errors import MeasurementError
from ponas_deploy.files.findings import SEVERITIES, Finding, Severity, most_severe
from ponas_deploy.files.notes import OnNote, no_note
from ponas_deploy.machines.conditions import is_jetson
from ponas_deploy.measuring.machine_readings import MachineReadings
from ponas_deploy.measuring.place import Place
from ponas_deploy.measuring.protocol import Plan
from ponas_deploy.profiling.devices import Runtime, runtimes
from ponas_deploy.profiling.places import asked_of, reached
from ponas_deploy.profiling.target import THIS_MACHINE, Target
from ponas_deploy.remote.place import BoardPlace
from ponas_deploy.tables.quality import NOISY_PCT

_PLAN = Plan()
"""What discards a round is an error here. Below that, these are warnings:"""
_SOME_OTHERS_PCT, _SOME_STOLEN_PCT, _SOME_SHARED_PCT, _UNSTEADY_PCT = 5.0, 0.5, 5.0, 2.0
_LITTLE_MEMORY_MIB = 1024
_NEAR_C = 10.0
_SLOW_MODES = ("low-power", "quiet", "cool")


Check: TypeAlias = Callable[[MachineReadings], Finding | None]
"""None where nothing can be read, or nothing is there to check."""


@dataclass(frozen=True, slots=True)
class MachineCheck:
    """What `check_machine` found: the readings, the noise floor and the findings about them.

    `noise_floor` is None where it was not measured, and `not_measured` says why.
    """

    readings: MachineReadings
    noise_floor: NoiseFloor | None
    findings: tuple[Finding, ...]
    not_measured: str = ""
    board: str = ""

    @property
    def name(self) -> str:
        """The board's in the book, else that of this machine."""
        return self.board or self.readings.machine.name

    @property
    def severity(self) -> Severity:
        """Of the whole machine: that of the noise floor, else of the worst finding."""
        measured = [finding for finding in self.findings if finding.about == "noise floor"]
        return most_severe(measured or self.findings)


def check_machine(
    backend: str | None = None, device: str = THIS_MACHINE, *, on_note: OnNote = no_note
) -> MachineCheck:
    """Check whether a machine is a good place to measure; takes about six seconds.

    Reads for a second what else uses the cores, clocks, heat, power and memory, then measures the noise floor
    with `backend` (a name; without one the first installed one that makes engines). `device` is this machine
    or a board of the device book, which does that over its link; `on_note` is called with lines for people. A
    machine that somebody else is measuring is checked without the noise floor; a board that somebody else
    measures is not reached. BackendError for a runtime that is unknown, not installed or makes no engines,
    PonasError for a device that cannot be reached.
    """
    if backend:
        registry.refuse_without_engines((backend,))
    target = Target(device, backend or ())
    with reached(target, "doctor", on_note) as place:
        readings, installed = place.readings(), _runtimes(place, target)
        usable = (one.backend for one in installed if not one.problem)
        chosen = backend or next(filter(registry.makes_engines, usable), None)
        measured, not_measured = None, "" if chosen else "no runtime that makes engines is installed"
        if chosen:
            try:
                measured = measure_noise_floor(chosen, place=place)
            except BoardError:
                raise
            except MeasurementError as error:
                not_measured = str(error)
    board = place.name if isinstance(place, BoardPlace) else ""
    return MachineCheck(readings, measured, examine(readings, measured, installed), not_measured, board)


def _runtimes(place: Place, target: Target) -> tuple[Runtime, ...]:
    """The runtimes that a machine can be measured with, installed or not."""
    if not isinstance(place, BoardPlace):
        return runtimes(on_gpu=target.on_gpu)
    there = place.runtimes(asked_of(target))
    return tuple(Runtime(one.backend, one.precisions, one.problem) for one in there)


def examine(
    readings: MachineReadings, measured: NoiseFloor | None, installed: Sequence[Runtime]
) -> tuple[Finding, ...]:
    """All findings: the measured noise first, then the worst of the rest."""
    rest = [*(check(readings) for check in CHECKS), runtimes_installed(installed)]
    found = [finding for finding in rest if finding is not None]
    found.sort(key=lambda finding: -SEVERITIES.index(finding.severity))
    return (*noise(measured), *neighbours(measured), *found)


def noise(measured: NoiseFloor | None) -> Iterator[Finding]:
    """What was measured: how well this machine repeats itself."""
    if measured is None:
        return
    worst = max(measured.rounds_pct, measured.processes_pct)
    message = (
        f"measuring the same networks twice differs by {measured.rounds_pct:.1f} %, fresh processes by"
        f" {measured.processes_pct:.1f} %; one inference in a hundred takes {measured.tail:.1f} times as long"
        f" as the median ({measured.backend}, {measured.p50_ms:.3g} ms)"
    )
    if worst > NOISY_PCT:
        advice = "no table made now can predict better than this: first do what is advised below"
        yield Finding("error", "noise floor", message, advice)
    elif worst > _UNSTEADY_PCT:
        advice = "good enough for budgets that leave a few percent; for better, see below"
        yield Finding("warning", "noise floor", message, advice)
    else:
        yield Finding("ok", "noise floor", message)


def neighbours(measured: NoiseFloor | None) -> Iterator[Finding]:
    """Whether something that no counter shows shares the cores: the other half of a physical core, mostly."""
    if measured is None or measured.shared_pct < _SOME_SHARED_PCT:
        return
    message = (
        "something that the system does not see shared the core in"
        f" {measured.shared_pct:.0f} % of the samples: everything takes 1.3 to 1.8 times as long then"
    )
    severity: Severity = "error" if measured.shared_pct > _PLAN.most_contended_pct else "warning"
    advice = (
        "such samples are taken again; what runs here will meet them, though: use a machine with dedicated"
        " cores, and keep the other half of a physical core free (taskset)"
    )
    yield Finding(severity, "neighbours", message, advice)


def other_processes(readings: MachineReadings) -> Finding | None:
    """Who else uses the cores."""
    others = readings.interference.others_pct
    names = ", ".join(
        f"{busy.name}{f' x{busy.count}' if busy.count > 1 else ''} {busy.share_pct:.0f} % of a core"
        for busy in readings.busy[:4]
    )
    message = f"other processes used {others:.0f} % of the cores{f' ({names})' if names else ''}"
    if others > _PLAN.most_others_pct:
        advice = (
            "stop them or wait: a lower priority (nice) still shares caches and memory with what is measured"
        )
        return Finding("error", "other processes", message, advice)
    if others > _SOME_OTHERS_PCT:
        return Finding("warning", "other processes", message, "close what is not needed")
    return Finding("ok", "other processes", message)


def load(readings: MachineReadings) -> Finding | None:
    """Whether more wants to run than there are cores."""
    if readings.reading.load is None:
        return None
    cores = readings.machine.cores
    message = f"load average {readings.reading.load:.1f} on {cores} {'core' if cores == 1 else 'cores'}"
    if readings.reading.load > cores:
        return Finding("error", "load", message, "wait until it is below half of the cores")
    if readings.reading.load > cores / 2:
        return Finding("warning", "load", message, "wait until it is below half of the cores")
    return Finding("ok", "load", message)


def steal(readings: MachineReadings) -> Finding | None:
    """Whether a hypervisor takes the cores away."""
    stolen = readings.interference.stolen_pct
    if stolen > _SOME_STOLEN_PCT:
        severity: Severity = "error" if stolen > _PLAN.most_stolen_pct else "warning"
        advice = "use a machine with dedicated cores, or measure when its neighbours sleep"
        return Finding(severity, "steal", f"the hypervisor took {stolen:.1f} % of the cores", advice)
    if readings.hypervisor:
        message = f"a virtual machine ({readings.hypervisor}); the host took nothing while it was read"
        advice = "compare latencies inside one run, and verify engines at another time of the day"
        return Finding("warning", "virtual machine", message, advice)
    return Finding("ok", "virtual machine", "none: nobody else gives the cores away")


def quota(readings: MachineReadings) -> Finding | None:
    """Whether a container's quota stops it in the middle of a measurement."""
    cores, held = readings.machine.quota_cores, readings.interference.quota_pct
    if cores is None:
        return Finding("ok", "container quota", "no limit on processor time")
    message = f"the container may use {cores:g} cores' time"
    advice = "give it whole cores (--cpuset-cpus) instead of a share of time (--cpus)"
    if held > 0:
        return Finding(
            "error", "container quota", f"{message} and was held up {held:.0f} % of the time", advice
        )
    return Finding("warning", "container quota", f"{message}: what needs more is stopped for a while", advice)


def governor(readings: MachineReadings) -> Finding | None:
    """Whether clocks follow the load."""
    if not readings.governors:
        message = "cannot be read here (usual for a virtual machine): the clocks may change unseen"
        return Finding("warning", "governor", message, "compare latencies inside one run")
    message = f"frequency governor {', '.join(readings.governors)}"
    if set(readings.governors) == {"performance"}:
        return Finding("ok", "governor", message)
    advice = "sudo cpupower frequency-set -g performance, unless the device will run with this one"
    return Finding("warning", "governor", f"{message}: the clock follows the load, with a delay", advice)


def gpu_clock(readings: MachineReadings) -> Finding | None:
    """Whether the clock of a GPU that the kernel governs, a Jetson's, follows the load."""
    clock = readings.reading.gpu_clock
    if clock is None:
        return None
    message = f"{clock.now_mhz:.0f} MHz now, {'locked' if clock.locked else clock.range}"
    if clock.locked:
        return Finding("ok", "GPU clock", message)
    governed = f"{message}, governor {clock.governor}" if clock.governor else message
    jetson = is_jetson(dict(readings.reading.conditions()), readings.machine.power_mode)
    command = "sudo jetson_clocks" if jetson else "raise min_freq to max_freq in /sys/class/devfreq"
    advice = f"{command}: without it networks and single blocks are timed at different clocks"
    return Finding("warning", "GPU clock", f"{governed}: the clock follows the load", advice)


def turbo(readings: MachineReadings) -> Finding | None:
    """Whether clocks depend on heat and neighbours."""
    if readings.turbo is None:
        return None
    if not readings.turbo:
        return Finding("ok", "turbo", "off: the clock has a fixed highest value")
    advice = (
        "for figures that repeat, switch it off (echo 0 > /sys/devices/system/cpu/cpufreq/boost, or echo 1 >"
        " .../intel_pstate/no_turbo); leave it on where the device will run with it"
    )
    return Finding("warning", "turbo", "on: the clock depends on heat and on how many cores work", advice)


def shared_cores(readings: MachineReadings) -> Finding | None:
    """Whether two of the cores are one."""
    cores = readings.reading.affinity or "all"
    if not readings.siblings:
        return Finding("ok", "cores", f"this process may run on {cores}; none shares a physical core")
    groups = "; ".join(readings.siblings)
    message = f"this process may run on {cores}; these share a physical core: {groups}"
    advice = (
        "measure with --threads up to the number of physical cores, and keep the siblings free (taskset -c)"
    )
    return Finding("warning", "cores", message, advice)


def heat(readings: MachineReadings) -> Finding | None:
    """Whether the machine is, or soon will be, slowed down."""
    held, now, limit = readings.interference.held, readings.reading.temperature_c, readings.passive_c
    if held:
        advice = "cool it, wait, or give it a better power supply, then measure"
        return Finding("error", "throttling", f"held back now: {', '.join(held)}", advice)
    if now is None:
        return None
    message = f"{now:.0f} °C" + (f", slowed down from {limit:.0f} °C on" if limit else "")
    if limit and now > limit - _NEAR_C:
        return Finding(
            "warning", "temperature", message, "let it cool down, or measure what it does when warm"
        )
    return Finding("ok", "temperature", message)


def power_mode(readings: MachineReadings) -> Finding | None:
    """Which power mode somebody chose."""
    mode = readings.machine.power_mode
    if not mode:
        return None
    if mode.startswith("nvpmodel"):
        advice = "profile in the mode the device will run in (sudo nvpmodel -m N, sudo jetson_clocks)"
        maximum = "MAXN" in mode
        return Finding("ok" if maximum else "warning", "power mode", mode, "" if maximum else advice)
    if mode in _SLOW_MODES:
        return Finding("warning", "power mode", f"platform profile {mode}", "choose 'performance'")
    return Finding("ok", "power mode", f"platform profile {mode}")


def battery(readings: MachineReadings) -> Finding | None:
    """Whether it runs on a battery."""
    if readings.battery_pct is None:
        return None
    return Finding("error", "battery", f"on battery, {readings.battery_pct:.0f} % left", "plug it in")


def memory(readings: MachineReadings) -> Finding | None:
    """Whether there is room for the networks of a profile."""
    if readings.available_mib is None:
        return None
    message = f"{readings.available_mib:,} MiB of {readings.machine.memory_mib:,} MiB are free"
    swapped = f", {readings.swapped_mib} MiB are swapped out" if readings.swapped_mib else ""
    if readings.available_mib < _LITTLE_MEMORY_MIB:
        advice = "close other programs: a profile that waits for the disk measures the disk"
        return Finding("error", "memory", message + swapped, advice)
    return Finding("ok", "memory", message + swapped)


def runtimes_installed(installed: Sequence[Runtime]) -> Finding:
    """Which runtimes can measure."""
    here = [f"{one.backend} ({', '.join(one.precisions)})" for one in installed if not one.problem]
    if not here:
        return Finding("error", "runtimes", "none is installed", registry.install_line())
    absent = [one.backend for one in installed if one.problem]
    message = ", ".join(here) + (f"; not here: {', '.join(absent)}" if absent else "")
    return Finding("ok", "runtimes", message)


CHECKS: tuple[Check, ...] = (
    other_processes,
    load,
    steal,
    quota,
    heat,
    battery,
    power_mode,
    governor,
    gpu_clock,
    *GPU_CHECKS,
    turbo,
    shared_cores,
    memory,
)


@dataclass(frozen=True, slots=True)
class DoctorDocument:
    """What `ponas doctor --json` prints; see `MachineCheck`. `noise` is None where it was not measured."""

    machine: str
    verdict: Severity
    noise: NoiseFloor | None
    checks: tuple[Finding, ...]
    readings: MachineReadings


def doctor_document(found: MachineCheck) -> DoctorDocument:
    """What `ponas doctor --json` prints."""
    readings = found.readings
    return DoctorDocument(found.name, found.severity, found.noise_floor, found.findings, readings)
